"""The settings of one project: plain data with help, limits and one check.

Stored as JSON with the project and copied into every round, so that a round is a record that can be replayed.
"""

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from al_service.domain.draws import is_drawn
from al_service.domain.strategy_names import STRATEGIES
from al_service.errors import InvalidInputError

#: Of a batch: the rest is there for people while the next round trains.
TRIGGER_SHARE = 0.7
AUGMENTATIONS = ("none", "shift", "shift+flip")
TRAINING_MODES = ("finetune", "probe")
WARM_STARTS = ("none", "previous", "shrink_perturb")
CLASS_BALANCES = ("none", "weights", "sampling")
MIXED_PRECISIONS = ("auto", "off")
CURRICULA = ("none", "easy_first", "hard_first", "random_order")
PACINGS = ("linear", "root", "step")
DIFFICULTIES = ("previous_round", "knn")
SEMI_SUPERVISIONS = ("none", "pseudo_labels", "label_spreading")
COMMITTEES = ("dropout", "laplace", "bootstrap")
PROMOTIONS = ("if_better", "always", "never")
CONSENSUSES = ("majority", "weighted", "review")
SKIP_POLICIES = ("later", "others_only", "done")


class InvalidConfigError(InvalidInputError):
    """A project setting that is unknown or out of range; says which, what was found and what is allowed."""

    code = "invalid_config"


def _setting(default: Any, help: str, **limits: Any) -> Any:
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True)
class ProjectConfig:
    """How a project runs its loop. Every field can be set with `al project set NAME key=value`."""

    network: str = _setting("small_cnn", "small_cnn (images up to 64 px) or any torchvision network, e.g. resnet18")
    weights: str = _setting(
        "none",
        "where the backbone starts: none, default (torchvision's, needs the network), pretrained (from the pool, by "
        "`al pretrain`) or a path to a .safetensors or .pt file",
    )
    training_mode: str = _setting(
        "finetune",
        "finetune: train every layer on the images; probe: train only the head on stored embeddings of a frozen "
        "backbone, in seconds (choose weights that know images)",
        choices=TRAINING_MODES,
    )
    image_px: int = _setting(
        0, "side of the square the model sees, in pixels; 0 = chosen from the images", low=0, high=1024
    )
    strategy: str = _setting(
        "auto",
        "which samples to ask next; auto: typical ones while labels are few, then uncertain ones that stand for many",
        choices=tuple(STRATEGIES),
    )
    prefilter_factor: int = _setting(
        10, "strategies with a + diversify within so many times the batch, the least certain first", low=1, high=10_000
    )
    class_cap: float = _setting(
        1.0, "largest share of a batch that one predicted class may take; 1 = no limit", low=0.01, high=1.0
    )
    duplicate_radius: float = _setting(
        0.0,
        "images closer than this share of the usual distance are not asked together; 0 = no limit, 0.1 to 0.3 usual",
        low=0.0,
        high=1.0,
    )
    labels_per_round: int = _setting(50, "how many samples a round asks for", low=1, high=1_000_000)
    trigger_labels: int = _setting(
        0,
        "new labels that start the next round; 0 = 70 % of labels_per_round: people have the rest meanwhile",
        low=0,
        high=1_000_000,
    )
    trigger_interval_s: int = _setting(
        0, "start a round after this many seconds if there is any new label; 0 = off", low=0, high=31_536_000
    )
    auto_start: bool = _setting(True, "start rounds without being asked")
    random_fraction: float = _setting(0.1, "share of each batch drawn at random, to compare against", low=0.0, high=1.0)
    holdout_fraction: float = _setting(
        0.2, "share of an import kept aside for evaluation, never asked for training", low=0.0, high=0.9
    )
    evaluation_labels: int = _setting(
        200, "evaluation samples to have labelled by people when the import brings no labels", low=0, high=1_000_000
    )
    label_budget: int = _setting(0, "stop asking after this many labels; 0 = no limit", low=0, high=1_000_000_000)
    stop_kappa: float = _setting(
        0.0,
        "stop asking once predictions on the evaluation images are stable: Cohen's kappa from round to round, the mean "
        "of 3 rounds, is at least this; 0 = off, 0.99 usual",
        low=0.0,
        high=1.0,
    )
    stop_gain: float = _setting(
        0.0,
        "stop asking once the next 100 labels are expected to add less accuracy than this, even at the upper end of "
        "the 95 % interval; 0 = off, 0.005 is half a point",
        low=0.0,
        high=1.0,
    )
    overlap: int = _setting(1, "people who answer each sample", low=1, high=20)
    overlap_share: float = _setting(
        1.0,
        "share of the samples that so many people answer, the others one; drawn by each image's content",
        low=0.0,
        high=1.0,
    )
    consensus: str = _setting(
        "majority",
        "what several answers make of a sample: the class that most people named (majority); the likeliest, given how "
        "well each person answers (weighted); the class that all named, else a reviewer decides (review)",
        choices=CONSENSUSES,
    )
    gold_share: float = _setting(
        0.05,
        "share of what people get that is gold: images whose class is known, hidden among the others to see how well "
        "people do; nothing happens while a project has none. Where blind_share is less than this, only gold that a "
        "model had an opinion of is asked",
        low=0.0,
        high=0.5,
    )
    blind_share: float = _setting(
        0.2,
        "share of the images for which nobody is told the model's suggestion, even when they ask: how people answer "
        "there shows how much suggestions sway them. At least gold_share hides gold that no model has an opinion of",
        low=0.0,
        high=1.0,
    )
    max_skips: int = _setting(3, "after this many skips a sample leaves the queue", low=1, high=100)
    skip_policy: str = _setting(
        "later",
        "what a skip does: the sample comes back last to who skipped it (later), only to others (others_only), or "
        "leaves the queue at once (done)",
        choices=SKIP_POLICIES,
    )
    mc_passes: int = _setting(
        20, "opinions on each image for strategies that look at disagreement, e.g. bald", low=2, high=500
    )
    committee: str = _setting(
        "dropout",
        "where these opinions come from: dropout passes of the network, heads that the labels would also allow "
        "(laplace), or heads trained on resampled labels (bootstrap)",
        choices=COMMITTEES,
    )
    epochs_max: int = _setting(60, "upper limit of training epochs", low=1, high=10_000)
    minibatch_size: int = _setting(64, "images per training step", low=2, high=65_536)
    learning_rate: float = _setting(0.002, "peak of the cosine schedule", low=1e-7, high=10.0)
    weight_decay: float = _setting(0.01, "AdamW weight decay", low=0.0, high=1.0)
    augment: str = _setting("shift", "training augmentation", choices=AUGMENTATIONS)
    warm_start: str = _setting(
        "none",
        "finetune starts from scratch (none), from the last model (previous), or from the last model shrunk and "
        "perturbed",
        choices=WARM_STARTS,
    )
    class_balance: str = _setting(
        "none",
        "rare classes count more: by weights in the loss, or by sampling them more often",
        choices=CLASS_BALANCES,
    )
    focal_gamma: float = _setting(0.0, "focal loss: weigh hard images more; 0 = off, 2 is usual", low=0.0, high=5.0)
    label_smoothing: float = _setting(0.0, "share of each label spread over all classes", low=0.0, high=0.5)
    ema_decay: float = _setting(
        0.0,
        "use a moving average of the weights with this decay per step; 0 = off, 0.99 to 0.999 usual",
        low=0.0,
        high=0.9999,
    )
    mixed_precision: str = _setting("auto", "auto: half precision on a GPU, full on a CPU", choices=MIXED_PRECISIONS)
    curriculum: str = _setting(
        "none",
        "in which order labelled images come into training; helps with wrong labels, seldom otherwise",
        choices=CURRICULA,
    )
    curriculum_pacing: str = _setting("linear", "how fast the rest comes in", choices=PACINGS)
    curriculum_difficulty: str = _setting(
        "knn",
        "what counts as hard: the last model's entropy, or how many nearest neighbours have another label",
        choices=DIFFICULTIES,
    )
    semi_supervised: str = _setting(
        "none",
        "also learn from unlabelled images: pseudo_labels (finetune) or label_spreading (probe); measured beside the "
        "plain model every round",
        choices=SEMI_SUPERVISIONS,
    )
    probe_l2: float = _setting(
        0.0, "weight penalty of the probe; 0 = chosen by cross-validation each round", low=0.0, high=1e6
    )
    pretrain_epochs: int = _setting(
        50,
        "passes over the pool when `al pretrain` trains a backbone without labels; 50 over 50,000 images of 32 px take "
        "about three hours on a CPU core",
        low=1,
        high=10_000,
    )
    promote: str = _setting(
        "if_better",
        "whether a round's model becomes the project's model: if_better on the evaluation set, always, or never by "
        "itself",
        choices=PROMOTIONS,
    )
    score_shard_samples: int = _setting(
        20_000, "a larger pool is scored in shards of so many images, one job each", low=100, high=1_000_000
    )
    select_whole_samples: int = _setting(
        1_000_000,
        "a larger pool is chosen from in two stages: every shard proposes as many as a batch and its reserve hold, and "
        "the batch is chosen among the proposals, so that no worker holds the pool",
        low=100,
        high=1_000_000_000,
    )
    reserve_factor: float = _setting(
        1.0, "further batches kept ready for people who finish while the next round trains", low=0.0, high=20.0
    )
    seed: int = _setting(0, "seed of every random choice", low=0, high=2**31 - 1)
    guidelines: str = _setting("", "what labelers should know, shown in the page")

    def __post_init__(self) -> None:
        for spec in fields(self):
            _check(spec.name, getattr(self, spec.name), spec.type, spec.metadata)

    @property
    def labels_to_trigger(self) -> int:
        """New labels since the last round that start the next one."""
        return self.trigger_labels or math.ceil(TRIGGER_SHARE * self.labels_per_round)

    @property
    def skips_asked(self) -> int:
        """Skips that take a sample out of the queue."""
        return 1 if self.skip_policy == "done" else self.max_skips

    def overlap_of(self, content_sha256: str) -> int:
        """How many people answer the image with this content: the same number each time it is asked for."""
        is_shared = is_drawn("overlap", content_sha256, share=self.overlap_share, seed=self.seed)
        return self.overlap if is_shared else 1

    def to_json(self) -> dict[str, Any]:
        """Plain data, as stored."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ProjectConfig":
        """Read stored data; fields added since then take their default.

        Raises:
            InvalidConfigError: a value is out of range or a key is unknown.
        """
        return cls().with_values(data)

    @property
    def selection_options(self) -> dict[str, Any]:
        """What the settings say of how a batch is chosen, as `acquisition.strategies.Strategy.select` takes it."""
        names = ("random_fraction", "prefilter_factor", "class_cap", "duplicate_radius")
        return {name: getattr(self, name) for name in names}

    def with_values(self, values: dict[str, Any]) -> "ProjectConfig":
        """A changed copy; text (from a command line) is converted to the field's type.

        Raises:
            InvalidConfigError: unknown key, wrong type, or out of range; names the key and what is allowed.
        """
        known = {spec.name: spec for spec in fields(self)}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise InvalidConfigError(
                f"unknown project setting {unknown[0]!r}; known: {', '.join(sorted(known))}", key=unknown[0]
            )
        return replace(self, **{key: _convert(key, value, known[key].type) for key, value in values.items()})


def _as_float(key: str, value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise InvalidConfigError(f"{key} is too large a number", key=key) from None


def _convert(key: str, value: Any, kind: Any) -> Any:
    if not isinstance(value, str) or kind is str:
        is_whole = kind is float and isinstance(value, int) and not isinstance(value, bool)
        return _as_float(key, value) if is_whole else value
    text = value.strip()
    try:
        if kind is bool:
            return {
                "true": True,
                "1": True,
                "yes": True,
                "on": True,
                "false": False,
                "0": False,
                "no": False,
                "off": False,
            }[text.lower()]
        return int(text) if kind is int else float(text)
    except (KeyError, ValueError):
        raise InvalidConfigError(f"{key}={value!r} is not a {kind.__name__}", key=key) from None


def _check(key: str, value: Any, kind: Any, limits: Any) -> None:
    if type(value) is not kind:
        raise InvalidConfigError(f"{key}={value!r} is a {type(value).__name__}, expected {kind.__name__}", key=key)
    if kind is str and "\0" in value:  # PostgreSQL stores no such text, and no path or network has one in its name
        raise InvalidConfigError(f"{key} contains a NUL character; leave it out", key=key)
    choices = limits.get("choices")
    if choices and value not in choices:
        raise InvalidConfigError(f"{key}={value!r} is not one of {', '.join(choices)}", key=key)
    # `not (low <= value)` also refuses NaN, which compares false with everything.
    if "low" in limits and not limits["low"] <= value <= limits["high"]:
        raise InvalidConfigError(f"{key}={value} is outside {limits['low']}..{limits['high']}", key=key)
