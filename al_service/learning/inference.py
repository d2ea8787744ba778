"""What a network says of images: logits, probabilities, embeddings, and probabilities under dropout masks.

The backbone runs once per image; dropout passes cost about nothing beside it, see mc_dropout.py. While the network is
busy with one minibatch the next is read from disk. Embeddings that are kept already need the head alone:
`head_outputs`. Called by workers. See docs/scoring.md.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from al_service.errors import InvalidInputError
from al_service.learning import minibatch_size as sizing
from al_service.learning.dropout_replay import PassOutputs
from al_service.learning.mc_dropout import BLOCK_FLOATS, FoldedHead, Passes, dropout_passes, drops_in_head_only
from al_service.learning.networks import Network
from al_service.learning.outputs import Inference, MinibatchOutputs
from al_service.learning.pixels import check_pixels
from al_service.learning.read_ahead import read_ahead

log = logging.getLogger(__name__)

__all__ = ["PRECISIONS", "Inference", "embed", "head_outputs", "predict"]

OnProgress = Callable[[int, int], None]
PRECISIONS = ("auto", "float32")

_FEW = 32
_HEAD_ROWS = 8192
_sizes_of_this_process = sizing.MinibatchSizes()


def predict(
    network: Network,
    pixels: Any,
    *,
    device: str | torch.device = "cpu",
    minibatch_size: int | None = None,
    mc_passes: int = 0,
    seed: int = 0,
    precision: str = "auto",
    sizes: sizing.MinibatchSizes | None = None,
    on_progress: OnProgress | None = None,
) -> Inference:
    """Run the network over all images. It is put on `device` and in evaluation mode; dropout masks live beside it.

    Args:
        network: trained or loaded.
        pixels: (N, px, px, 3) uint8 array-like, sliced minibatch by minibatch, so a memory map is never read as a
            whole.
        device: see device.choose.
        minibatch_size: images at a time; changes speed and memory, not the result beyond rounding. None: found once
            and remembered. Where memory runs out it is halved and the work goes on.
        mc_passes: M, 0 for none.
        seed: of the masks.
        precision: "auto" runs a GPU in float16 (back in float32 from the first output that is not finite), a CPU in
            float32; "float32" runs both in it. The head is always float32.
        sizes: where sizes are remembered; None: in this process.
        on_progress: called with (images done, N) after every minibatch; what it raises stops the work and passes
            through.

    Raises:
        InvalidPixelsError: pixels of another shape or type.
        InvalidInputError: minibatch_size < 1, mc_passes < 0 or an unknown precision.
        UnsupportedDropoutError: passes are asked for, and the network has dropout that cannot be given masks.
        OutOfDeviceMemoryError: not even one image fits.
    """
    check_pixels(pixels, network.image_px)
    if (minibatch_size is not None and minibatch_size < 1) or mc_passes < 0:
        raise InvalidInputError(f"minibatch_size is {minibatch_size} and mc_passes {mc_passes}; expected >= 1 and >= 0")
    if precision not in PRECISIONS:
        raise InvalidInputError(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    on = torch.device(device)
    network.to(on).eval()
    answer = Inference.empty(len(pixels), network, mc_passes)
    with _channels_last(network), dropout_passes(network, mc_passes, seed) as passes:
        scoring = _Scoring(network, passes, on, on.type == "cuda" and precision == "auto")
        memory = _Remembered(scoring, sizes or _sizes_of_this_process, mc_passes)
        size = minibatch_size or memory.size(pixels)
        scoring.score(pixels, size, answer, memory, on_progress)
    return answer


def embed(network: Network, pixels: Any, **options: Any) -> np.ndarray:
    """(N, D) float16 embeddings; arguments and errors as `predict`, without passes."""
    return predict(network, pixels, **options).embeddings


def head_outputs(
    network: Network, embeddings: Any, *, device: str | torch.device = "cpu", mc_passes: int = 0, seed: int = 0
) -> Inference:
    """As `predict` for images whose embeddings are known; the backbone is not run.

    Dropout passes are those of the head: a backbone with dropout of its own (vgg, alexnet) needs `predict` for all.

    Args:
        network: its head is put on `device`.
        embeddings: (N, D) float array-like, sliced; float16 as `embed` gives it.
        device, mc_passes, seed: as in `predict`.

    Raises:
        InvalidInputError: embeddings of another width, or mc_passes < 0.
        OutOfDeviceMemoryError: not even one row fits.
    """
    shape = tuple(embeddings.shape)
    if len(shape) != 2 or shape[1] != network.embedding_width:
        raise InvalidInputError(f"embeddings have shape {shape}; {network.name} makes (N, {network.embedding_width})")
    if mc_passes < 0:
        raise InvalidInputError(f"mc_passes is {mc_passes}, expected at least 0")
    on = torch.device(device)
    head = network.head.to(on).eval()
    answer = Inference.empty(len(embeddings), network, mc_passes)
    with torch.inference_mode():
        folded = FoldedHead(head, mc_passes, seed) if mc_passes else None

        def run(part: np.ndarray) -> MinibatchOutputs:
            rows = torch.from_numpy(part).to(on).float()
            sampled = None if folded is None else folded.probabilities(rows)
            return MinibatchOutputs.of(PassOutputs(rows, head(rows), sampled))

        start, size = 0, _head_rows(network, mc_passes)
        while start < len(embeddings):
            part = np.array(embeddings[start : start + size])
            outputs = _attempt(run, part)
            if outputs is None:
                size = sizing.halved(len(part), image_px=network.image_px, device=on, network=network.name)
                continue
            answer.put(start, outputs)
            start += len(part)
    return answer


def _head_rows(network: Network, mc_passes: int) -> int:
    """Embeddings at a time: as many as make one block of outputs."""
    floats = max(network.embedding_width, max(1, mc_passes) * network.class_count)
    return max(1, min(_HEAD_ROWS, BLOCK_FLOATS // floats))


def _attempt(run: Callable[[Any], MinibatchOutputs], part: Any) -> MinibatchOutputs | None:
    """The outputs, or None where memory ran out; returning first lets go of what the failed run held."""
    try:
        return run(part)
    except (RuntimeError, MemoryError) as error:
        if not sizing.is_out_of_memory(error):
            raise
    return None


class _Scoring:
    """One run over images with a network that is on its device and in evaluation mode."""

    def __init__(self, network: Network, passes: Passes, device: torch.device, half: bool) -> None:
        self.network, self.passes, self.device, self.half = network, passes, device, half

    @property
    def precision(self) -> str:
        """Of the backbone now."""
        return "float16" if self.half else "float32"

    def run(self, images: Tensor) -> MinibatchOutputs:
        """Outputs of images (n, 3, H, W) on the device."""
        with torch.autocast(self.device.type, torch.float16, enabled=self.half):
            outputs = self.passes(images)
        return MinibatchOutputs.of(outputs)

    def run_rows(self, rows: Tensor) -> MinibatchOutputs:
        """Outputs of images (n, H, W, 3) in memory."""
        return self.run(self.images(rows))

    def score(
        self, pixels: Any, size: int, answer: Inference, memory: "_Remembered", on_progress: OnProgress | None
    ) -> None:
        """Fill the answer. On a GPU a minibatch's outputs are fetched while the next one is computed."""
        waiting: tuple[int, Tensor, MinibatchOutputs, bool] | None = None

        def fetch() -> None:
            if waiting is None:
                return
            start, part, outputs, was_half = waiting
            answer.put(start, outputs)
            if was_half and not answer.is_finite(start, len(part)):
                self._leave_half()
                self._do_again(start, part, answer, memory)
            if on_progress is not None:
                on_progress(start + len(part), len(pixels))

        with closing(read_ahead(pixels, size, pin=self.device.type == "cuda")) as parts:
            for first, rows in parts:
                done = 0
                while done < len(rows):
                    part, half = rows[done : done + size], self.half
                    outputs = _attempt(self.run_rows, part)
                    if outputs is None:
                        size = memory.halved(len(part))
                        continue
                    fetch()
                    waiting = (first + done, part, outputs, half)
                    done += len(part)
        fetch()

    def _do_again(self, start: int, part: Tensor, answer: Inference, memory: "_Remembered") -> None:
        outputs = _attempt(self.run_rows, part)
        if outputs is not None:
            answer.put(start, outputs)
            return
        for piece in part.split(memory.halved(len(part))):
            self._do_again(start, piece, answer, memory)
            start += len(piece)

    def images(self, rows: Tensor) -> Tensor:
        """(n, H, W, 3) in memory -> (n, 3, H, W) on the device, channels last as they lie."""
        return rows.to(self.device, non_blocking=True).permute(0, 3, 1, 2)

    def _leave_half(self) -> None:
        if self.half:
            log.warning("%s overflows in float16; going on in float32", self.network.name)
        self.half = False


class _Remembered:
    """The minibatch size of one kind of run."""

    def __init__(self, scoring: _Scoring, sizes: sizing.MinibatchSizes, mc_passes: int) -> None:
        network, device = scoring.network, scoring.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        self._scoring, self._sizes = scoring, sizes
        # Passes of the head alone cost next to nothing: they want the size that the network wants.
        counted = mc_passes if mc_passes and not drops_in_head_only(network) else 0
        self._key = sizing.SizeKey(network.name, network.image_px, name, scoring.precision, counted)

    def size(self, pixels: Any) -> int:
        """As remembered, else found now, as far as it fits now; a few images are not worth finding it."""
        found = self._sizes.find(self._key)
        if found is None and len(pixels) > _FEW:
            found = self._find(pixels)
        size = _FEW if found is None else sizing.fitting(found, self._scoring.device)
        return self._sizes.capped(self._key, size)

    def _find(self, pixels: Any) -> sizing.FoundSize | None:
        """Found now, and remembered where that is worth it; None where memory ran out."""
        scoring = self._scoring
        try:
            images = scoring.images(torch.from_numpy(np.array(pixels[:_FEW])))
            found, is_lasting = sizing.choose_size(
                scoring.network, scoring.run, images, scoring.device, count=len(pixels)
            )
        except (RuntimeError, MemoryError) as error:
            if not sizing.is_out_of_memory(error):
                raise
            return None
        if is_lasting:
            self._sizes.remember(self._key, found)
        return found

    def halved(self, size: int) -> int:
        """Half of a size that was too large; this process stays below it.

        Raises:
            OutOfDeviceMemoryError: it was 1.
        """
        key = self._key
        half = sizing.halved(size, image_px=key.image_px, device=self._scoring.device, network=key.network)
        self._sizes.lower(key, half)
        return half


@contextmanager
def _channels_last(network: nn.Module) -> Iterator[None]:
    """Lay convolution weights out as the images lie; afterwards they are the very tensors they were."""
    weights = [
        (weight, weight.data)
        for weight in network.parameters()
        if weight.ndim == 4 and not weight.is_contiguous(memory_format=torch.channels_last)
    ]
    try:
        for weight, data in weights:
            weight.data = data.contiguous(memory_format=torch.channels_last)
        yield
    finally:
        for weight, data in weights:
            weight.data = data
