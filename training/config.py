"""Every setting of the trainer, as plain frozen dataclasses which validate themselves.

The values stand in conf/, one comment each, and nowhere else: no field has a default here. A field's type
is what Hydra checks overrides against; what a type cannot say is checked in `__post_init__`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tfrecords_schema import Manifest
from training.errors import UsageError

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
OPTIMIZERS = ("adamw", "muon")
SCHEDULES = ("cosine", "constant")
STRATEGIES = ("one", "mirrored", "multi_worker")
MOST_NEIGHBOURS = 1024  # colours, whose targets are a table of 4 MB


@dataclass(frozen=True)
class DataConfig:
    """Which dataset, and how thoroughly it is shuffled."""

    root: str
    shuffle_buffer: int
    # The run.json of runs that began before this setting existed does not have it: they had no limit.
    shuffle_megabytes: int | None = None

    def __post_init__(self) -> None:
        _require(bool(self.root), "data.root", "the directory of a dataset", self.root)
        _require(self.shuffle_buffer >= 1, "data.shuffle_buffer", "at least 1 record", self.shuffle_buffer)
        _require(
            self.shuffle_megabytes is None or self.shuffle_megabytes >= 1,
            "data.shuffle_megabytes", "at least 1 MB, or null", self.shuffle_megabytes,
        )  # fmt: skip


@dataclass(frozen=True)
class ModelConfig:
    """What all networks have in common; each kind below adds its own settings."""

    name: str
    hints: bool

    # The file of training/models whose `build` makes it.
    module: ClassVar[str]

    @property
    def channels(self) -> int:
        """Of the input: the drawing, and with hints their colour and where they are (see hints.py)."""
        return 5 if self.hints else 1

    @property
    def stride(self) -> int:
        """Sides must be multiples of this many pixels."""
        raise NotImplementedError

    # What the last layer gives: logits, or (the article's network only) scores in place of probabilities.
    gives_logits: ClassVar[bool] = True


@dataclass(frozen=True)
class UNetConfig(ModelConfig):
    """Our own network: see models/unet.py."""

    full_width: int
    widths: list[int]
    blocks: list[int]
    module = "unet"

    def __post_init__(self) -> None:
        _require(self.full_width >= 1, "model.full_width", "at least 1 channel", self.full_width)
        _require(
            len(self.widths) >= 2 and min(self.widths) >= 1,
            "model.widths", "two or more numbers of channels, each at least 1", self.widths,
        )  # fmt: skip
        _require(
            len(self.blocks) == len(self.widths) and min(self.blocks) >= 0 and self.blocks[0] == 0,
            "model.blocks", f"0 and then {len(self.widths) - 1} numbers for the other widths", self.blocks,
        )  # fmt: skip

    @property
    def stride(self) -> int:
        """The deepest level's pixel is this many pixels wide."""
        return 2 ** len(self.widths)


@dataclass(frozen=True)
class ArticleConfig(ModelConfig):
    """The article's network as it stands there: see models/article.py."""

    width: float
    module = "article"
    gives_logits = False

    def __post_init__(self) -> None:
        _require(0 < self.width <= 4, "model.width", "a factor above 0 and up to 4", self.width)

    @property
    def stride(self) -> int:
        """Seven halvings."""
        return 128


@dataclass(frozen=True)
class ArticleLogitsConfig(ArticleConfig):
    """The article's network with its head put right: logits last, nothing after them."""

    gives_logits = True


@dataclass(frozen=True)
class ResUNetConfig(ModelConfig):
    """The stronger network, for a GPU: see models/resunet.py."""

    widths: list[int]
    blocks: int
    attention: int
    module = "resunet"

    def __post_init__(self) -> None:
        _require(
            len(self.widths) >= 2 and min(self.widths) >= 8 and not any(width % 8 for width in self.widths),
            "model.widths", "two or more numbers of channels, each a multiple of 8", self.widths,
        )  # fmt: skip
        _require(self.blocks >= 1, "model.blocks", "at least 1 residual block a level", self.blocks)
        _require(
            0 <= self.attention < len(self.widths),
            "model.attention", f"from 0 to {len(self.widths) - 1} levels, not the finest", self.attention,
        )  # fmt: skip

    @property
    def stride(self) -> int:
        """The deepest level's pixel is this many pixels wide."""
        return 2 ** (len(self.widths) - 1)


MODELS: dict[str, type[ModelConfig]] = {
    "unet": UNetConfig,
    "resunet": ResUNetConfig,
    "article": ArticleConfig,
    "article_logits": ArticleLogitsConfig,
}


@dataclass(frozen=True)
class LossConfig:
    """What is trained on: see losses.TrainingLoss."""

    uniform_share: float
    label_smoothing: float
    neighbour_sigma: float

    def __post_init__(self) -> None:
        share, sigma = self.uniform_share, self.neighbour_sigma
        _require(0 < share <= 1, "loss.uniform_share", "a share above 0 and up to 1", share)
        _require(0 <= sigma <= 1, "loss.neighbour_sigma", "a distance from 0 to 1", sigma)
        _require(
            0 <= self.label_smoothing < 1, "loss.label_smoothing", "from 0 to below 1", self.label_smoothing
        )


@dataclass(frozen=True)
class OptimizerConfig:
    """Which optimizer, and the course of its learning rate."""

    name: str
    learning_rate: float
    schedule: str
    warmup: float
    final_rate: float
    weight_decay: float
    beta_2: float
    clip_norm: float | None

    def __post_init__(self) -> None:
        _require_one_of(OPTIMIZERS, "optimizer.name", self.name)
        _require(self.learning_rate > 0, "optimizer.learning_rate", "above 0", self.learning_rate)
        _require_one_of(SCHEDULES, "optimizer.schedule", self.schedule)
        _require(0 <= self.warmup < 1, "optimizer.warmup", "a share from 0 to below 1", self.warmup)
        _require(0 <= self.final_rate <= 1, "optimizer.final_rate", "a share from 0 to 1", self.final_rate)
        _require(self.weight_decay >= 0, "optimizer.weight_decay", "0 or above", self.weight_decay)
        _require(0 < self.beta_2 < 1, "optimizer.beta_2", "between 0 and 1", self.beta_2)
        _require(
            self.clip_norm is None or self.clip_norm > 0,
            "optimizer.clip_norm",
            "above 0, or null",
            self.clip_norm,
        )


@dataclass(frozen=True)
class AugmentConfig:
    """What happens to a batch of examples inside the training step, at random."""

    flip: float
    scale: float
    translate: float
    thickness: float
    thickness_max: int
    gaps: float
    jitter: float
    drop_specks: int
    pencil: float

    def __post_init__(self) -> None:
        _require(0 <= self.flip <= 1, "augment.flip", "a probability from 0 to 1", self.flip)
        _require(1 <= self.scale <= 4, "augment.scale", "a factor from 1 to 4", self.scale)
        _require(self.translate >= 0, "augment.translate", "0 pixels or more", self.translate)
        _require(0 <= self.thickness <= 1, "augment.thickness", "a probability from 0 to 1", self.thickness)
        _require(1 <= self.thickness_max <= 9, "augment.thickness_max", "1 to 9 pixels", self.thickness_max)
        _require(0 <= self.gaps < 1, "augment.gaps", "a share from 0 to below 1", self.gaps)
        _require(0 <= self.jitter <= 8, "augment.jitter", "0 to 8 pixels", self.jitter)
        _require(0 <= self.drop_specks <= 64, "augment.drop_specks", "0 to 64 pixels", self.drop_specks)
        _require(0 <= self.pencil <= 1, "augment.pencil", "a strength from 0 to 1", self.pencil)


@dataclass(frozen=True)
class HintsConfig:
    """What simulated colour hints look like in training, when the model takes hints."""

    without: float
    most: int
    longest: int

    def __post_init__(self) -> None:
        _require(0 <= self.without <= 1, "hints.without", "a share from 0 to 1", self.without)
        _require(1 <= self.most <= 1024, "hints.most", "from 1 to 1024 strokes", self.most)
        _require(1 <= self.longest <= 64, "hints.longest", "from 1 to 64 pixels", self.longest)


@dataclass(frozen=True)
class TrainerConfig:
    """How long, how large, and how exactly."""

    epochs: int | None
    max_minutes: float | None
    steps_per_epoch: int | None
    batch_size: int
    seed: int
    precision: str
    jit_compile: bool
    strategy: str
    panel_images: int
    ema: float | None
    patience: int | None
    checkpoint_minutes: float | None
    checkpoint_steps: int | None
    keep: int

    def __post_init__(self) -> None:
        _require(
            self.epochs is None or self.epochs >= 1, "trainer.epochs", "at least 1, or null", self.epochs
        )
        _require(
            self.max_minutes is None or self.max_minutes > 0,
            "trainer.max_minutes", "above 0, or null", self.max_minutes,
        )  # fmt: skip
        _require(
            self.epochs is not None or self.max_minutes is not None,
            "trainer.epochs", "a number when trainer.max_minutes is null too: one of them must end the run",
            None,
        )  # fmt: skip
        _require(
            self.steps_per_epoch is None or self.steps_per_epoch >= 1,
            "trainer.steps_per_epoch", "at least 1, or null", self.steps_per_epoch,
        )  # fmt: skip
        _require(self.batch_size >= 1, "trainer.batch_size", "at least 1", self.batch_size)
        _require(0 <= self.seed < 2**31, "trainer.seed", "from 0 to 2147483647", self.seed)
        _require_one_of(PRECISIONS, "trainer.precision", self.precision)
        _require_one_of(STRATEGIES, "trainer.strategy", self.strategy)
        _require(
            self.strategy != "multi_worker" or self.max_minutes is None,
            "trainer.max_minutes", "null with trainer.strategy=multi_worker: clocks differ", self.max_minutes,
        )  # fmt: skip
        _require(self.panel_images >= 1, "trainer.panel_images", "at least 1", self.panel_images)
        _require(self.ema is None or 0 < self.ema < 1, "trainer.ema", "between 0 and 1, or null", self.ema)
        _require(
            self.patience is None or self.patience >= 1,
            "trainer.patience", "at least 1, or null", self.patience,
        )  # fmt: skip
        _require(
            self.checkpoint_minutes is None or self.checkpoint_minutes > 0,
            "trainer.checkpoint_minutes", "above 0, or null", self.checkpoint_minutes,
        )  # fmt: skip
        _require(
            self.checkpoint_steps is None or self.checkpoint_steps >= 1,
            "trainer.checkpoint_steps", "at least 1, or null", self.checkpoint_steps,
        )  # fmt: skip
        _require(self.keep >= 1, "trainer.keep", "at least 1", self.keep)


@dataclass(frozen=True)
class TrainConfig:
    """One experiment: what `train` needs to know."""

    data: DataConfig
    model: ModelConfig
    loss: LossConfig
    optimizer: OptimizerConfig
    augment: AugmentConfig
    hints: HintsConfig
    trainer: TrainerConfig

    @property
    def steps(self) -> tuple[Any, ...]:
        """The settings that decide what each step does: all but where data lie."""
        return (self.model, self.loss, self.optimizer, self.augment, self.hints, self.trainer)

    def check_fits(self, manifest: Manifest) -> None:
        """Refuses what cannot be trained on this dataset.

        Raises:
          UsageError: an empty training split, a batch or an epoch larger than it, more colours than the
            loss can take, or images of a size that this network cannot take.
        """
        train = manifest.splits["train"].examples if "train" in manifest.splits else 0
        batch, steps, size = self.trainer.batch_size, self.trainer.steps_per_epoch or 0, manifest.image_size
        if train == 0:
            raise UsageError(f"data.root={self.data.root}: no training examples; preprocess more images")
        if batch > train:
            raise UsageError(
                f"trainer.batch_size={batch}, but there are only {train:,} training examples: "
                f"type trainer.batch_size={max(1, train // 4)}"
            )
        if steps > train // batch:
            raise UsageError(
                f"trainer.steps_per_epoch={steps}, but the training split has only {train // batch:,} "
                f"batches of {batch}: type trainer.steps_per_epoch=null"
            )
        if self.loss.neighbour_sigma and len(manifest.palette) > MOST_NEIGHBOURS:
            raise UsageError(
                f"loss.neighbour_sigma={self.loss.neighbour_sigma:g} takes palettes of up to "
                f"{MOST_NEIGHBOURS:,} colours, but this one has {len(manifest.palette):,}: "
                "type loss.neighbour_sigma=0"
            )
        if size % self.model.stride:
            raise UsageError(
                f"model={self.model.name} takes multiples of {self.model.stride} px, but these "
                f"images are {size} px: preprocess with another --image_size, or choose another model"
            )

    def steps_per_epoch(self, train_examples: int) -> int:
        """Whole batches in the training split, or fewer when the setting says so."""
        return self.trainer.steps_per_epoch or train_examples // self.trainer.batch_size


def _require(holds: bool, key: str, expected: str, found: Any) -> None:
    if not holds:
        raise UsageError(f"{key} must be {expected}; got {'null' if found is None else found}")


def _require_one_of(options: tuple[str, ...], key: str, found: str) -> None:
    _require(found in options, key, f"one of {', '.join(options)}", found)
