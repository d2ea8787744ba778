"""Memory of a process that reads a row store: what was asked for, not what is stored."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from al_service.storage.row_store import RowStore

ROOT = Path(__file__).parents[3]
MIB = 2**20

#: Asks for 1000 rows, then reads every row of the store once in minibatches; prints what memory grew by, in bytes.
READER = """
import json, sys
from pathlib import Path
import numpy as np
from al_service.storage.row_store import RowStore
from al_service.storage.row_view import Residency

def memory():
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return [int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile")]

store = RowStore(Path(sys.argv[1]), (64,), "float32")
store._residency = Residency(10 * 2**20)
keys = np.load(sys.argv[2])
store.view(keys[:10])[:]
begun = memory()
view = store.view(keys[::200])
asked = memory()
view[:]
for start in range(0, len(keys), 50_000):
    part = store.view(keys[start:start + 50_000])
    for at in range(0, len(part), 500):
        part[at : at + 500]
    rng = np.random.default_rng(0)
    for _ in range(20):
        part[rng.integers(0, len(part), 500)]
del part, view
read = memory()
print(json.dumps({"asked": asked[0] - begun[0], "read": read[0] - begun[0], "mapped": read[1] - begun[1]}))
"""


def test_memory_does_not_grow_with_the_store(tmp_path: Path) -> None:
    """200,000 rows are 51 MB of data and 7 MB of index; 10 MiB of mapped pages are allowed to stay."""
    store = RowStore(tmp_path / "rows", (64,), "float32")
    keys = np.random.default_rng(0).integers(0, 2**63, (200_000, 4)).astype(np.uint64)
    for start in range(0, 200_000, 20_000):
        store.append(keys[start : start + 20_000], np.full((20_000, 64), start, np.float32))
    np.save(tmp_path / "keys.npy", keys)
    ran = subprocess.run(
        [sys.executable, "-c", READER, str(tmp_path / "rows"), str(tmp_path / "keys.npy")],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    grown = json.loads(ran.stdout)
    assert grown["asked"] < 4 * MIB
    assert grown["read"] < 20 * MIB
    assert grown["mapped"] < 30 * MIB
