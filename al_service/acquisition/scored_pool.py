"""What scoring jobs leave behind and a selection reads: one file per shard, so a replay sees the same numbers.

The file is a plain .npz (no pickle). Embeddings are float16: k-center on them keeps the covering radius within a few
thousandths of a percent, at half the bytes.
"""

import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from al_service.acquisition import strategies
from al_service.acquisition.arrays import PoolArrays, Selection
from al_service.errors import InvalidInputError

_BY_SAMPLE = ("probabilities", "embeddings", "sampled_probabilities")


class InvalidScoredPoolError(InvalidInputError):
    """The bytes are not a scored pool, or are damaged."""

    code = "invalid_scored_pool"


@dataclass(frozen=True)
class ScoredPool:
    """Model outputs over the pool, row by row, at one moment.

    Attributes:
        sample_ids: (N,) int64.
        probabilities: (N, C) float32, or None for a pool that no model has seen (cold start).
        embeddings: (N, D) float16, or None.
        sampled_probabilities: (N, M, C) float32, or None.
        labelled_embeddings: (L, D) float16 of the training set under the same model, or None.
    """

    sample_ids: np.ndarray
    probabilities: np.ndarray | None = None
    embeddings: np.ndarray | None = None
    sampled_probabilities: np.ndarray | None = None
    labelled_embeddings: np.ndarray | None = None

    def to_bytes(self) -> bytes:
        """The file's bytes."""
        arrays = {name: value for name, value in vars(self).items() if value is not None}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "ScoredPool":
        """Read what `to_bytes` wrote.

        Raises:
            InvalidScoredPoolError: not such a file, or cut off.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return cls(**{name: arrays[name] for name in arrays.files})
        except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise InvalidScoredPoolError(f"not a scored pool: {error}; run the score stage again") from error

    @classmethod
    def read(cls, read: Callable[[str], bytes], names: Sequence[str], sample_ids: np.ndarray) -> "ScoredPool":
        """The pool in these files, cut to these samples; a pool that no model has seen where there are no files.

        Files are read one after the other into room for these samples: the pool is held once, and one shard beside it.

        Args:
            read: gives a file's bytes for its name.

        Raises:
            InvalidScoredPoolError: as `from_bytes` and `merged`. What `read` raises passes through.
        """
        if not names:
            return cls(sample_ids)
        shards = (cls.from_bytes(read(name)).restricted_to(sample_ids) for name in names)
        return cls.merged(shards, len(names), len(sample_ids))

    @classmethod
    def merged(cls, shards: Iterable["ScoredPool"], shard_count: int, sample_count: int) -> "ScoredPool":
        """One pool of several shards, in their order.

        Labelled embeddings are taken from the shard that has them.

        Args:
            shards: each is let go before the next is asked for.
            sample_count: there are no more in all of them together.

        Raises:
            InvalidScoredPoolError: no shards, a sample in two of them, or arrays that only some of them have.
        """
        sample_ids = np.empty(sample_count, np.int64)
        rooms: dict[str, np.ndarray] = {}
        found: dict[str, int] = {}
        labelled: np.ndarray | None = None
        filled = 0
        for shard in shards:
            stop = filled + len(shard.sample_ids)
            if stop > sample_count:
                raise InvalidScoredPoolError("two shards hold the same sample; run the score stage again")
            sample_ids[filled:stop] = shard.sample_ids
            for name in _BY_SAMPLE:
                rows = getattr(shard, name)
                if rows is not None:
                    found[name] = found.get(name, 0) + 1
                    room = rooms.setdefault(name, np.empty((sample_count, *rows.shape[1:]), rows.dtype))
                    room[filled:stop] = rows
            labelled = shard.labelled_embeddings if labelled is None else labelled
            filled = stop
        for name, count in found.items():
            if count != shard_count:
                raise InvalidScoredPoolError(f"{count} of {shard_count} shards have {name}; run the score stage again")
        if shard_count == 0:
            raise InvalidScoredPoolError("a scored pool needs at least one shard; run the score stage again")
        if len(np.unique(sample_ids[:filled])) != filled:
            raise InvalidScoredPoolError("two shards hold the same sample; run the score stage again")
        rows_of = {name: room[:filled] for name, room in rooms.items()}
        return cls(sample_ids[:filled], **rows_of, labelled_embeddings=labelled)

    def restricted_to(self, sample_ids: np.ndarray) -> "ScoredPool":
        """Only these samples (those of them that are here), in this object's order."""
        keep = np.isin(self.sample_ids, sample_ids)

        def rows(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else array[keep]

        return replace(
            self,
            sample_ids=self.sample_ids[keep],
            probabilities=rows(self.probabilities),
            embeddings=rows(self.embeddings),
            sampled_probabilities=rows(self.sampled_probabilities),
        )

    def choose(
        self,
        strategy: str,
        budget: int,
        *,
        seed: int | Sequence[int],
        already_chosen: Sequence[Any] = (),
        random_fraction: float = 0.0,
        **options: Any,
    ) -> Selection:
        """Choose `budget` samples (all, when there are fewer) by a strategy; the same seed gives the same ids.

        A pool that no model has seen is drawn from at random, with the reason `first_look`, unless the strategy has a
        cold start and there are embeddings.

        Args:
            already_chosen: ids of this pool that count as labelled: a reserve is chosen as if the batch were.
            random_fraction, options: as in `strategies.Strategy.select`.

        Raises:
            UnknownStrategyError, InvalidArrayError, InvalidInputError: as `strategies.Strategy.select`.
        """
        rng = np.random.default_rng(seed)
        pool = PoolArrays(
            self.sample_ids, self.probabilities, self.embeddings, self.sampled_probabilities, self.labelled_embeddings
        )
        size = min(budget, len(pool) - len(already_chosen))
        chosen = strategies.get(strategy)
        has_no_model = self.probabilities is None and self.sampled_probabilities is None
        if has_no_model and not (chosen.needs.cold_start and self.embeddings is not None):
            drawn = strategies.get("random").select(pool, size, rng=rng, already_chosen=already_chosen)
            reason: dict[str, Any] = {"code": "first_look" if strategy != "random" else "random"}
            return replace(drawn, reasons=tuple(dict(reason) for _ in drawn.reasons))
        return chosen.select(
            pool, size, rng=rng, already_chosen=already_chosen, random_fraction=random_fraction, **options
        )
