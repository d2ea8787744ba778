"""Memory that a process may still take, in containers above all."""

from pathlib import Path

import pytest

from al_service.learning.free_memory import cpu_free_bytes

MIB = 1 << 20


def group(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"memory.{name}").write_text(text)
    return folder


def test_files_that_the_kernel_keeps_in_memory_are_free_in_a_container_too(tmp_path):
    """Reading the pixel rows fills a container's limit with pages of files, which it gives up at once."""
    stat = f"anon {2 * MIB}\nfile {5 * MIB}\nactive_file {2 * MIB}\ninactive_file {3 * MIB}\nslab 7\n"
    assert cpu_free_bytes(group(tmp_path, max=f"{8 * MIB}\n", current=f"{7 * MIB}\n", stat=stat)) == 6 * MIB


def test_a_container_that_is_full_of_our_own_has_nothing_left(tmp_path):
    assert cpu_free_bytes(group(tmp_path, max=f"{8 * MIB}", current=f"{9 * MIB}", stat="active_file 0")) == 0


def test_a_limit_without_statistics_counts_as_it_stands(tmp_path):
    assert cpu_free_bytes(group(tmp_path, max=f"{8 * MIB}", current=f"{7 * MIB}")) == MIB
    assert cpu_free_bytes(group(tmp_path, stat="active_file x\n")) == MIB


@pytest.mark.parametrize("limit", ["max\n", str(2**62), ""])
def test_without_a_limit_the_machine_decides(tmp_path, limit):
    free = cpu_free_bytes(group(tmp_path, max=limit, current="5"))
    assert MIB < free < 2**50
    assert cpu_free_bytes(tmp_path / "no control groups here") > MIB
