"""Training by two processes: the same numbers as by one, and nothing left behind however it ends.

Each start loads torch three times over, so every test looks at several things.
"""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from al_service.errors import InvalidInputError
from al_service.learning import networks, training
from al_service.learning.curriculum import Curriculum
from al_service.learning.distributed import DistributedTrainingError, train_distributed
from al_service.learning.training import TrainConfig

#: Loading torch in three processes takes minutes on a machine that is busy with other things.
pytestmark = pytest.mark.timeout(900)
ROOT = Path(__file__).parents[3]
CONFIG = TrainConfig(epochs_max=3, augment="shift+flip", class_balance="weights", label_smoothing=0.1, ema_decay=0.9)


class KilledError(Exception):
    """Stands for a caller that gives up."""


def built() -> networks.Network:
    """Without dropout, whose draws are each process's own."""
    network = networks.build("small_cnn", 10, 8)
    network.head.dropout.p = 0.0
    return network


def differences(first: networks.Network, second: networks.Network) -> float:
    there = second.state_dict()
    return max(float((value - there[key]).abs().max()) for key, value in first.state_dict().items())


def uneven(digits) -> np.ndarray:
    """Two classes with a validation part; minibatches of 11 and 12, so shares differ in length."""
    return np.concatenate([np.flatnonzero(digits.class_indices == one)[:54] for one in (3, 8)])


def order(epoch: int, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(108)[: 40 + 20 * epoch]


def running(marker: str) -> list[int]:
    """Processes whose command line has the marker."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in words:
                found.append(int(entry.name))
    return found


def test_two_processes_end_with_the_weights_of_one_and_go_on_from_its_states(digits, tmp_path):
    rows = uneven(digits)
    np.save(tmp_path / "pixels.npy", digits.pixels[rows])
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    hooks = {"order": order, "record_samples": True}
    alone, together, resumed = built(), built(), built()
    states_alone, states, told = [], [], []
    expected = training.train(
        alone, digits.pixels[rows], digits.class_indices[rows], CONFIG, on_state=states_alone.append, state_every_s=0,
        **hooks,
    )  # fmt: skip
    found = train_distributed(
        together, mapped, digits.class_indices[rows], CONFIG, lambda done, total: told.append((done, total)),
        processes=2, work_dir=tmp_path, on_state=states.append, state_every_s=0, **hooks,
    )  # fmt: skip
    assert differences(alone, together) < 1e-4
    assert found.train_loss == pytest.approx(expected.train_loss, rel=1e-4)
    assert found.validation_loss == pytest.approx(expected.validation_loss, rel=1e-4)
    assert (found.best_epoch, found.epochs, found.validation_count) == (expected.best_epoch, 3, 10)
    assert found.samples.visits.tolist() == expected.samples.visits.tolist()
    assert np.allclose(found.samples.margin, expected.samples.margin, atol=1e-3, equal_nan=True)
    assert told == [(done, told[0][1]) for done in range(1, told[0][1] + 1)]
    assert len(states) == 3 and not together.training
    assert [one.name for one in tmp_path.iterdir()] == ["pixels.npy"]

    report = train_distributed(
        resumed, mapped, digits.class_indices[rows], CONFIG, processes=2, work_dir=tmp_path, state=states_alone[0],
        **hooks,
    )  # fmt: skip
    assert report.resumed_from_epoch == 1 and report.state_refused == ""
    assert differences(alone, resumed) < 1e-4


def test_a_curriculum_with_balanced_sampling_draws_and_judges_in_two_processes_as_in_one(digits, tmp_path):
    rows, labels = slice(120), digits.class_indices[:120]
    config = TrainConfig(epochs_max=5, augment="none", class_balance="sampling", learning_rate=0.02, seed=4)
    # By class, and what is sorted first is one image over and over: its loss is lower than any later epoch's.
    easiest = np.concatenate([np.flatnonzero(labels == one)[:3] for one in range(10)])
    pixels = digits.pixels[rows].copy()
    pixels[easiest] = labels[easiest][:, None, None, None] * 25
    hardness = np.ones(120)
    hardness[easiest] = 0
    growing = Curriculum(hardness, labels, order="easy_first", pacing="step", epochs_max=5)
    alone, together = built(), built()
    hooks = {"order": growing, "record_samples": True}
    expected = training.train(alone, pixels, labels, config, **hooks)
    found = train_distributed(together, pixels, labels, config, processes=2, work_dir=tmp_path, **hooks)
    assert np.argmin(expected.train_loss) + 1 < growing.whole_from_epoch, "or it would not matter who is judged"
    assert found.validation_count == 0 and found.best_epoch == expected.best_epoch >= growing.whole_from_epoch
    assert found.samples.visits.tolist() == expected.samples.visits.tolist()
    assert found.train_loss == pytest.approx(expected.train_loss, rel=1e-3)
    assert differences(alone, together) < 1e-3


def test_what_diverges_in_a_process_diverges_here_and_the_network_stays(digits, tmp_path):
    network = built()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    config = TrainConfig(learning_rate=1e30)
    with pytest.raises(training.TrainingDivergedError, match="lower learning_rate") as caught:
        train_distributed(network, digits.pixels[:9], digits.class_indices[:9], config, processes=2, work_dir=tmp_path)
    assert caught.value.details["epoch"] == 1
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_killed_is_named_and_a_caller_that_gives_up_leaves_none(digits, tmp_path):
    config = TrainConfig(epochs_max=10_000, patience=10_000)

    def kill_one(done: int, total: int) -> None:
        if done == 3:
            ranks = [
                pid
                for pid in running(str(tmp_path))
                if b"RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes().replace(b"LOCAL_RANK", b"")
            ]
            os.kill(ranks[0], signal.SIGKILL)

    with pytest.raises(DistributedTrainingError, match="process 1 of the training ended with exit code -9"):
        train_distributed(
            built(), digits.pixels[:9], digits.class_indices[:9], config, kill_one, processes=2, work_dir=tmp_path
        )
    assert running(str(tmp_path)) == []

    listening = []

    def give_up(done: int, total: int) -> None:
        listening.extend(addresses_listened_on(running(str(tmp_path))))
        raise KilledError

    with pytest.raises(KilledError):
        train_distributed(
            built(), digits.pixels[:9], digits.class_indices[:9], config, give_up, processes=2, work_dir=tmp_path
        )
    assert running(str(tmp_path)) == [] and list(tmp_path.iterdir()) == []
    # Two ranks of gloo each listen for the other, on this machine alone.
    assert set(listening) == {"127.0.0.1"}


def addresses_listened_on(pids: list[int]) -> list[str]:
    """IPv4 addresses in dotted form, IPv6 ones as /proc has them."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = str(link.readlink()) if link.is_symlink() else ""
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                address = words[1].split(":")[0]
                numbers = [str(int(address[at : at + 2], 16)) for at in (6, 4, 2, 0)]
                found.append(".".join(numbers) if table == "tcp" else address)
    return found


CALLER = """
import sys
import numpy as np
from al_service.learning import networks
from al_service.learning.distributed import train_distributed
from al_service.learning.training import TrainConfig

pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
train_distributed(
    networks.build("small_cnn", 3, 8), pixels, np.arange(9) % 3, TrainConfig(epochs_max=10_000, patience=10_000),
    lambda done, total: print(done, flush=True), processes=2, work_dir=sys.argv[1],
)
"""


def test_when_the_caller_is_killed_its_processes_end_by_themselves(tmp_path):
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT, env={**os.environ}
    )
    try:
        assert caller.stdout.readline() == b"1\n"
        watched = [os.pidfd_open(pid) for pid in running(str(tmp_path)) if pid != caller.pid]
        assert len(watched) == 3
    finally:
        caller.kill()
        caller.wait()
        caller.stdout.close()
    # Readable when the process has ended; the test's own limit ends a wait in vain.
    for one in watched:
        select.select([one], [], [])
        os.close(one)


def test_what_cannot_be_done_by_several_processes_is_refused(digits, tmp_path):
    some = digits.pixels[:3], digits.class_indices[:3], TrainConfig(epochs_max=1)
    with pytest.raises(InvalidInputError, match="processes is 0"):
        train_distributed(built(), *some, processes=0, work_dir=tmp_path)
    with pytest.raises(InvalidInputError, match="extra loss"):
        train_distributed(
            built(), *some, processes=2, work_dir=tmp_path, extra_loss=lambda network, step: torch.zeros(())
        )
    with pytest.raises(InvalidInputError, match="GPUs"):
        train_distributed(built(), *some, device="cuda", processes=99, work_dir=tmp_path)
    with pytest.raises(training.InvalidTrainingSetError, match="no labelled"):
        train_distributed(built(), digits.pixels[:0], [], TrainConfig(), processes=2, work_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_process_trains_right_here(digits, tmp_path):
    alone, here = built(), built()
    training.train(alone, digits.pixels[:9], digits.class_indices[:9], CONFIG)
    report = train_distributed(
        here, digits.pixels[:9], digits.class_indices[:9], CONFIG, processes=1, work_dir=tmp_path
    )
    assert differences(alone, here) == 0 and report.epochs == 3


def test_parts_of_a_memory_map_are_copied_and_not_taken_for_the_whole(digits, tmp_path):
    from al_service.learning.distributed import _hand_over_pixels

    np.save(tmp_path / "pixels.npy", digits.pixels[:20])
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    for pixels in (mapped, mapped[5:9], mapped[::3], digits.pixels[:7]):
        where = _hand_over_pixels(pixels, tmp_path)
        found = np.memmap(where["path"], np.uint8, "r", where["offset"], tuple(where["shape"]))
        assert (found == pixels).all() and json.dumps(where)
    assert _hand_over_pixels(mapped, tmp_path)["path"] == str(tmp_path / "pixels.npy")
