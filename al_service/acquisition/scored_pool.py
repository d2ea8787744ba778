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
from al_service.acquisition.ranking import random_choice
from al_service.errors import InvalidInputError

_FIRST_LOOK_LEAST = 10_000
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
        labelled_ids: (L,) int64, whose those are; None in files of before it was stored.
        other_ids: (R,) int64, samples of the pool that no shard proposed (`proposals`); the random slice alone may take
            them. None where all of the pool is here.
    """

    sample_ids: np.ndarray
    probabilities: np.ndarray | None = None
    embeddings: np.ndarray | None = None
    sampled_probabilities: np.ndarray | None = None
    labelled_embeddings: np.ndarray | None = None
    other_ids: np.ndarray | None = None
    labelled_ids: np.ndarray | None = None

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
        labelled: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
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
            labelled = (shard.labelled_embeddings, shard.labelled_ids) if labelled[0] is None else labelled
            filled = stop
        for name, count in found.items():
            if count != shard_count:
                raise InvalidScoredPoolError(f"{count} of {shard_count} shards have {name}; run the score stage again")
        if shard_count == 0:
            raise InvalidScoredPoolError("a scored pool needs at least one shard; run the score stage again")
        if len(np.unique(sample_ids[:filled])) != filled:
            raise InvalidScoredPoolError("two shards hold the same sample; run the score stage again")
        rows_of = {name: room[:filled] for name, room in rooms.items()}
        return cls(sample_ids[:filled], **rows_of, labelled_embeddings=labelled[0], labelled_ids=labelled[1])

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

    def proposals(self, strategy: str, count: int, *, seed: int | Sequence[int], **options: Any) -> "ScoredPool":
        """This shard's candidates for a batch that is chosen among the candidates of all shards: the strategy's own
        picks, without a random slice. Embeddings of labelled images stay.

        Args:
            count: as many as the batch and its reserve together, so that even a single shard can fill them; all samples
                where there are fewer.
            seed, options: as `choose`; a `random_fraction` among them is left to the second stage.

        Source: see two_stage.py, which bounds what k-center loses by it.
        """
        picks = self.choose(strategy, count, seed=seed, **{**options, "random_fraction": 0.0})
        return self.restricted_to(np.array(picks.sample_ids, np.int64))

    def beside(self, pool_ids: np.ndarray) -> "ScoredPool":
        """These candidates, with the rest of the pool known by id."""
        return replace(self, other_ids=np.setdiff1d(pool_ids, self.sample_ids))

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
        chosen = strategies.get(strategy)
        if self.other_ids is not None:
            return self._choose_among_candidates(chosen, pool, budget, rng, already_chosen, random_fraction, options)
        size = min(budget, len(pool) - len(already_chosen))
        has_no_model = self.probabilities is None and self.sampled_probabilities is None
        if has_no_model and not (chosen.needs.cold_start and self.embeddings is not None):
            drawn = strategies.get("random").select(pool, size, rng=rng, already_chosen=already_chosen)
            reason: dict[str, Any] = {"code": "first_look" if strategy != "random" else "random"}
            return replace(drawn, reasons=tuple(dict(reason) for _ in drawn.reasons))
        return chosen.select(
            pool, size, rng=rng, already_chosen=already_chosen, random_fraction=random_fraction, **options
        )

    def _choose_among_candidates(
        self,
        strategy: strategies.Strategy,
        pool: PoolArrays,
        budget: int,
        rng: np.random.Generator,
        already_chosen: Sequence[Any],
        random_fraction: float,
        options: dict[str, Any],
    ) -> Selection:
        """The random slice from the whole pool, as always, and the strategy's picks from the candidates."""
        others = np.empty(0, np.int64) if self.other_ids is None else self.other_ids
        everyone = np.setdiff1d(np.concatenate([self.sample_ids, others]), np.array(already_chosen, np.int64))
        size = min(budget, len(everyone))
        by_chance = size if strategy.name == "random" else int(np.floor(random_fraction * size + 0.5))
        slice_ = everyone[random_choice(len(everyone), by_chance, rng)]
        taken = np.intersect1d(self.sample_ids, np.concatenate([slice_, np.array(already_chosen, np.int64)]))
        own = min(size - by_chance, len(pool) - len(taken))
        picks = strategy.select(pool, own, rng=rng, already_chosen=taken.tolist(), **options)
        return Selection(
            sample_ids=(*slice_.tolist(), *picks.sample_ids),
            scores=(*(None for _ in slice_), *picks.scores),
            reasons=(*({"code": "random"} for _ in slice_), *picks.reasons),
            facts=picks.facts,
        )


def first_look_size(batch: int) -> int:
    """Samples that a first look takes in, before there is a model: enough to know a pool, few enough to wait for.

    Args:
        batch: samples that are wanted of them.

    >>> first_look_size(50), first_look_size(20_000)
    (10000, 40000)
    """
    return max(_FIRST_LOOK_LEAST, 2 * batch)
