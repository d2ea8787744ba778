"""Heat maps as a round keeps them: for each image the places that speak for its likeliest classes, at the network's
own coarse grid. Made by workers, shown by the label page; see docs/explanation.md.

One file holds those of a batch and its reserve, small enough to be read as a whole: for 150 images with three classes
at 8 x 8, 60 KB.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace

#: Sample id -> its maps, those of the likeliest class first.
HeatMapsOf = dict[int, tuple["HeatMap", ...]]


@dataclass(frozen=True)
class HeatMap:
    """How much each place of the square that the network sees speaks for a class.

    Attributes:
        cells: width * height bytes, row by row; 0: not at all, or against it; 255: the strongest place of all the maps
            of this image.
    """

    class_id: int
    width: int
    height: int
    cells: bytes

    def over(self, other: "HeatMap") -> "HeatMap":
        """One map of two classes of the same image: each place speaks for it as much as for the stronger of them.

        >>> HeatMap(1, 2, 1, bytes([0, 255])).over(HeatMap(1, 2, 1, bytes([9, 8]))).cells
        b'\\t\\xff'
        """
        return replace(self, cells=bytes(map(max, self.cells, other.cells)))


def heat_maps_to_bytes(maps: Mapping[int, tuple[HeatMap, ...]]) -> bytes:
    """All maps as one file; `heat_maps_from_bytes` reads it.

    >>> heat_maps_from_bytes(heat_maps_to_bytes({7: (HeatMap(1, 2, 1, bytes([0, 255])),)}))
    {7: (HeatMap(class_id=1, width=2, height=1, cells=b'\\x00\\xff'),)}
    """
    stored = {
        str(sample_id): [[one.class_id, one.width, one.height, b64encode(one.cells).decode()] for one in found]
        for sample_id, found in maps.items()
    }
    return json.dumps(stored, separators=(",", ":")).encode()


def heat_maps_from_bytes(data: bytes) -> HeatMapsOf:
    """What `heat_maps_to_bytes` was given."""
    return {
        int(sample_id): tuple(
            HeatMap(class_id, width, height, b64decode(cells)) for class_id, width, height, cells in found
        )
        for sample_id, found in json.loads(data).items()
    }
