"""Defines every setting of the trainer: one frozen dataclass per group, which checks its values.

The metadata of a field contains the sentence that `python -m training --help` prints about the setting, and
its allowed values. The values themselves are in conf/, not here. Hydra checks overrides against the types of
the fields; all other checks run when a dataclass is made.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args, get_type_hints

from tfrecords_schema import Manifest
from training.errors import UsageError
from training.line_styles import style_probabilities

# Colours of loss.neighbour_sigma and of references: a table of all pairs has 4 MB then.
MAX_SIMILAR_COLORS = 1024


@dataclass(frozen=True)
class Allowed:
    """The values that a setting accepts.

    `text` names them in messages and in --help; `test` returns whether a value is one of them. Null is not
    tested: the type of the field says whether it is accepted.
    """

    text: str
    test: Callable[[Any], bool]


def at_least(minimum: int) -> Allowed:
    """Accepts numbers from `minimum` up."""
    return Allowed(f"at least {minimum}", lambda value: value >= minimum)


def between(minimum: float, maximum: float) -> Allowed:
    """Accepts numbers from `minimum` to `maximum`, both included."""
    return Allowed(f"from {minimum:g} to {maximum:.10g}", lambda value: minimum <= value <= maximum)


def one_of(*options: str) -> Allowed:
    """Accepts these words."""
    return Allowed(f"one of {', '.join(options)}", lambda value: value in options)


def is_weighted_list(texts: list[str]) -> bool:
    """Returns whether each text is NAME or NAME:WEIGHT with a positive weight, and no name comes twice."""
    names = [text.partition(":")[0] for text in texts]
    weighted = r"\w+(:(?=.*[1-9])(\d+\.?\d*|\.\d+))?"
    return len(set(names)) == len(texts) > 0 and all(re.fullmatch(weighted, text) for text in texts)


FROM_0_TO_1 = between(0, 1)
FROM_0_TO_BELOW_1 = Allowed("from 0 to below 1", lambda value: 0 <= value < 1)
BETWEEN_0_AND_1 = Allowed("above 0 and below 1", lambda value: 0 < value < 1)
ABOVE_0 = Allowed("above 0", lambda value: value > 0)


def describe(sentence: str, allowed: Allowed | None = None, placeholder: str = "VALUE") -> dict[str, Any]:
    """Returns the metadata of a setting, for its check and for --help.

    Args:
      sentence: describes the setting, without a full stop.
      allowed: the allowed values; None: all values of its type.
      placeholder: shown in --help in place of the value, if the setting must be given.
    """
    return {"help": sentence, "allowed": allowed, "placeholder": placeholder}


class Settings:
    """The settings of one group of conf/: a dataclass whose fields have the metadata of `describe`."""

    group: ClassVar[str]

    def __post_init__(self) -> None:
        """Checks each value. Subclasses add the checks that concern several settings.

        Raises:
          UsageError: a value is not allowed; the message names the setting and the allowed values.
        """
        for setting in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            allowed, value = setting.metadata["allowed"], getattr(self, setting.name)
            if allowed is not None and value is not None and not allowed.test(value):
                self._refuse(setting.name, allowed_text(type(self), setting.name), value)

    def _refuse(self, name: str, expected: str, value: Any) -> None:
        raise UsageError(f"{self.group}.{name} must be {expected}; got {'null' if value is None else value}")


def allowed_text(kind: type[Settings], name: str) -> str:
    """Returns the allowed values in words, as `at least 1, or null`; "" if its type suffices."""
    metadata = {setting.name: setting.metadata for setting in dataclasses.fields(kind)}  # type: ignore[arg-type]
    allowed, hint = metadata[name]["allowed"], get_type_hints(kind)[name]
    text = allowed.text if allowed else "true or false" if hint is bool else ""
    return f"{text}, or null" if text and type(None) in get_args(hint) else text


@dataclass(frozen=True)
class DataConfig(Settings):
    """The dataset, and how it is shuffled."""

    group = "data"
    root: str = field(
        metadata=describe(
            "directory of a dataset made by python -m preprocess, local or at gs://",
            Allowed("the directory of a dataset", bool),
            placeholder="DATASET",
        )
    )
    shuffle_buffer: int = field(
        metadata=describe(
            "number of records that are shuffled together; shards are stored in random order, so few suffice",
            at_least(1),
        )
    )
    # None for runs that began before this setting existed: their run.json does not contain it.
    shuffle_megabytes: int | None = field(
        default=None,
        metadata=describe(
            "limit of the records that wait in memory to be parsed, in MB (10^6 bytes); null: no limit",
            at_least(1),
        ),
    )


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The network. Each network has settings of its own."""

    group = "model"
    name: str = field(metadata=describe("name of the network; chosen by model=NAME"))
    hints: bool = field(
        metadata=describe("whether the network takes hints (colours given by a person) beside the drawing")
    )
    # False for runs that began before this setting existed: their run.json does not contain it.
    reference: bool = field(
        default=False,
        kw_only=True,
        metadata=describe("whether the network takes a reference: how much of each colour is wanted"),
    )

    # The module in training/models whose `build` makes the network.
    module: ClassVar[str]
    # False for the article's network only, whose last layer gives scores in place of probabilities.
    gives_logits: ClassVar[bool] = True

    @property
    def channels(self) -> int:
        """Number of input channels: the drawing, and with hints four more (see training/data/hints.py)."""
        return 5 if self.hints else 1

    @property
    def stride(self) -> int:
        """Height and width of the input must be multiples of this number of pixels."""
        raise NotImplementedError


@dataclass(frozen=True)
class UNetConfig(ModelConfig):
    """The default network, made for CPUs: see training/models/unet.py."""

    module = "unet"
    full_width: int = field(metadata=describe("number of channels at full resolution", at_least(1)))
    widths: list[int] = field(
        metadata=describe(
            "numbers of channels at 1/2, 1/4, 1/8, ... of the resolution; multiples of 16 are fastest",
            Allowed(
                "two or more numbers, each at least 1",
                lambda widths: len(widths) >= 2 and min(widths) >= 1,
            ),
        )
    )
    blocks: list[int] = field(
        metadata=describe(
            "number of residual blocks at each of model.widths, in the encoder and again in the decoder",
            Allowed(
                "0 for the first width, and at least 0 for each of the others",
                lambda blocks: bool(blocks) and min(blocks) >= 0 and blocks[0] == 0,
            ),
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.blocks) != len(self.widths):
            self._refuse("blocks", f"{len(self.widths)} numbers, one for each of model.widths", self.blocks)

    @property
    def stride(self) -> int:
        """One pixel of the coarsest level covers this number of pixels."""
        return 2 ** len(self.widths)


@dataclass(frozen=True)
class ArticleConfig(ModelConfig):
    """The network of the article, unchanged: see training/models/article.py."""

    module = "article"
    gives_logits = False
    width: float = field(
        metadata=describe(
            "factor on every number of channels; 1.0 as in the article, 0.1 (3 million parameters) for a CPU",
            Allowed("above 0, up to 4", lambda width: 0 < width <= 4),
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reference:
            self._refuse("reference", f"false with model={self.name}: choose model=unet or resunet", True)

    @property
    def stride(self) -> int:
        """The resolution is halved seven times."""
        return 128


@dataclass(frozen=True)
class ArticleLogitsConfig(ArticleConfig):
    """The network of the article with logits as its last layer."""

    gives_logits = True


@dataclass(frozen=True)
class ResUNetConfig(ModelConfig):
    """The larger network, made for a GPU: see training/models/resunet.py."""

    module = "resunet"
    widths: list[int] = field(
        metadata=describe(
            "numbers of channels at 1/1, 1/2, 1/4, ... of the resolution",
            Allowed(
                "two or more numbers, each a multiple of 8",
                lambda widths: len(widths) >= 2 and min(widths) >= 8 and not any(n % 8 for n in widths),
            ),
        )
    )
    blocks: int = field(
        metadata=describe(
            "number of residual blocks at each of model.widths, in the encoder and again in the decoder",
            at_least(1),
        )
    )
    attention: int = field(
        metadata=describe(
            "number of levels, counted from the coarsest, with attention over the whole image",
            Allowed("at least 0, below the number of model.widths", lambda attention: attention >= 0),
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attention >= len(self.widths):
            self._refuse(
                "attention", f"from 0 to {len(self.widths) - 1}: the finest level has none", self.attention
            )

    @property
    def stride(self) -> int:
        """One pixel of the coarsest level covers this number of pixels."""
        return 2 ** (len(self.widths) - 1)


MODELS: dict[str, type[ModelConfig]] = {
    "unet": UNetConfig,
    "resunet": ResUNetConfig,
    "article": ArticleConfig,
    "article_logits": ArticleLogitsConfig,
}


@dataclass(frozen=True)
class LossConfig(Settings):
    """The training loss; reported losses are plain cross-entropy in nats: see training/metrics/losses.py."""

    group = "loss"
    uniform_share: float = field(
        metadata=describe(
            "1: every pixel has the same weight; towards 0: pixels of rare colours weigh more",
            Allowed("above 0, up to 1", lambda fraction: 0 < fraction <= 1),
        )
    )
    label_smoothing: float = field(
        metadata=describe("fraction of each target that is spread evenly over all colours", FROM_0_TO_BELOW_1)
    )
    neighbour_sigma: float = field(
        metadata=describe(
            "distance in OKLab over which targets are spread to similar colours, for example 0.05; 0: none",
            FROM_0_TO_1,
        )
    )


@dataclass(frozen=True)
class OptimizerConfig(Settings):
    """The optimizer and its learning rate: see training/loop/optimizers.py and schedule.py."""

    group = "optimizer"
    name: str = field(
        metadata=describe(
            "the optimizer; muon uses AdamW for all weights but the kernels of convolutions",
            one_of("adamw", "muon"),
        )
    )
    learning_rate: float = field(metadata=describe("learning rate at its peak", ABOVE_0))
    schedule: str = field(
        metadata=describe(
            "learning rate after the warm-up: cosine decays to final_rate, constant keeps the peak",
            one_of("cosine", "constant"),
        )
    )
    warmup: float = field(
        metadata=describe(
            "fraction of the run in which the learning rate rises from 0 to its peak", FROM_0_TO_BELOW_1
        )
    )
    final_rate: float = field(
        metadata=describe("learning rate at the end of the cosine, as a fraction of the peak", FROM_0_TO_1)
    )
    weight_decay: float = field(
        metadata=describe(
            "fraction of each weight that is subtracted per step, times the learning rate", at_least(0)
        )
    )
    beta_2: float = field(
        metadata=describe("decay per step of AdamW's mean of squared gradients", BETWEEN_0_AND_1)
    )
    clip_norm: float | None = field(
        metadata=describe("largest global norm of the gradients; null: no limit", ABOVE_0)
    )


@dataclass(frozen=True)
class AugmentConfig(Settings):
    """Random changes of drawings and labels in each step: see training/data/augment.py."""

    group = "augment"
    flip: float = field(metadata=describe("probability of a left-right flip", FROM_0_TO_1))
    scale: float = field(
        metadata=describe(
            "largest factor by which images are enlarged before they are cropped; 1: none",
            between(1, 4),
        )
    )
    translate: float = field(
        metadata=describe(
            "largest distance in pixels between the centres of the crop and of the image; the crop stays "
            "inside the image",
            at_least(0),
        )
    )
    thickness: float = field(metadata=describe("probability of thicker lines", FROM_0_TO_1))
    thickness_max: int = field(metadata=describe("width of the thickest lines in pixels", between(1, 9)))
    gaps: float = field(metadata=describe("fraction of the line pixels that is erased", FROM_0_TO_BELOW_1))
    jitter: float = field(metadata=describe("largest displacement of line pixels, in pixels", between(0, 8)))
    drop_specks: int = field(
        metadata=describe(
            "number of pixels up to which isolated specks are removed; each drawing has a random limit "
            "from 0 to this number",
            between(0, 64),
        )
    )
    pencil: float = field(metadata=describe("how soft and grey lines can become", FROM_0_TO_1))
    # None for runs that began before this setting existed.
    lines: list[str] | None = field(
        default=None,
        metadata=describe(
            "line styles of the dataset, with weights, of which each example shows one per epoch, as in "
            "[drawn:3,canny]; null: all alike",
            Allowed("line styles with weights above 0, as [drawn:3,canny]", is_weighted_list),
        ),
    )

    @property
    def line_weights(self) -> dict[str, float]:
        """The weight of each line style of `lines`; empty if all styles are alike."""
        parts = [text.partition(":") for text in self.lines or ()]
        return {name: float(weight or 1) for name, _, weight in parts}


@dataclass(frozen=True)
class HintsConfig(Settings):
    """Simulated hints, used where model.hints=true: see training/data/hints.py."""

    group = "hints"
    without: float = field(
        metadata=describe("fraction of the examples without hints, so that they stay optional", FROM_0_TO_1)
    )
    most: int = field(
        metadata=describe(
            "largest number of hints in one drawing; the number is log-uniform", between(1, 1024)
        )
    )
    longest: int = field(metadata=describe("length of the longest strokes in pixels", between(1, 64)))


@dataclass(frozen=True)
class ReferenceConfig(Settings):
    """Simulated references, used where model.reference=true: see training/data/reference.py."""

    # The defaults are for runs that began before these settings existed, and had no references.
    group = "reference"
    without: float = field(
        default=1.0,
        metadata=describe(
            "fraction of the examples without a reference, so that it stays optional", FROM_0_TO_1
        ),
    )
    thinned: float = field(
        default=0.0,
        metadata=describe(
            "fraction of the references that have only 2 to 8 colours, like colours picked by a person",
            FROM_0_TO_1,
        ),
    )
    blurred: float = field(
        default=0.0,
        metadata=describe(
            "largest fraction of each colour that is moved to similar colours, in a third of the references",
            FROM_0_TO_1,
        ),
    )
    mixed: float = field(
        default=0.0,
        metadata=describe(
            "largest fraction of colours drawn at random from the dataset's, in a third of the references",
            FROM_0_TO_1,
        ),
    )


@dataclass(frozen=True)
class TrainerConfig(Settings):
    """Length, batches, precision, devices and checkpoints of the run."""

    group = "trainer"
    epochs: int | None = field(
        metadata=describe("number of epochs; null: trainer.max_minutes ends the run", at_least(1))
    )
    max_minutes: float | None = field(
        metadata=describe("minutes of wall-clock time after which the run ends; null: no limit", ABOVE_0)
    )
    steps_per_epoch: int | None = field(
        metadata=describe("number of batches per epoch; null: the whole training split", at_least(1))
    )
    batch_size: int = field(metadata=describe("number of examples per step, over all devices", at_least(1)))
    seed: int = field(
        metadata=describe(
            "seed of the initial weights, the order of the examples and the augmentation",
            between(0, 2**31 - 1),
        )
    )
    precision: str = field(
        metadata=describe(
            "precision of the computation: mixed_bfloat16 for GPUs since 2020, mixed_float16 for older ones",
            one_of("float32", "mixed_bfloat16", "mixed_float16"),
        )
    )
    jit_compile: bool = field(
        metadata=describe("whether XLA compiles the step: faster on a GPU, slower on most CPUs")
    )
    strategy: str = field(
        metadata=describe(
            "one: one device; mirrored: all GPUs of this machine; multi_worker: all GPUs of the machines "
            "in TF_CONFIG",
            one_of("one", "mirrored", "multi_worker"),
        )
    )
    panel_images: int = field(
        metadata=describe("number of validation images in panel.png, the sample grid", at_least(1))
    )
    ema: float | None = field(
        metadata=describe(
            "decay per step, for example 0.998, of an average of the weights, which is evaluated and saved "
            "instead of them; null: none",
            BETWEEN_0_AND_1,
        )
    )
    patience: int | None = field(
        metadata=describe(
            "number of epochs without improvement after which the run ends; null: no limit", at_least(1)
        )
    )
    checkpoint_minutes: float | None = field(
        metadata=describe("minutes between checkpoints within an epoch; null: none within an epoch", ABOVE_0)
    )
    checkpoint_steps: int | None = field(
        metadata=describe(
            "steps between checkpoints within an epoch; null: none within an epoch", at_least(1)
        )
    )
    keep: int = field(
        metadata=describe(
            "number of checkpoints to keep; if the newest is damaged, the one before it is used", at_least(1)
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs is None and self.max_minutes is None:
            expected = "a number when trainer.max_minutes is null too: one of them must end the run"
            self._refuse("epochs", expected, None)
        if self.strategy == "multi_worker" and self.max_minutes is not None:
            expected = "null with trainer.strategy=multi_worker: clocks differ"
            self._refuse("max_minutes", expected, self.max_minutes)


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a run."""

    data: DataConfig
    model: ModelConfig
    loss: LossConfig
    optimizer: OptimizerConfig
    augment: AugmentConfig
    hints: HintsConfig
    reference: ReferenceConfig
    trainer: TrainerConfig

    @property
    def steps(self) -> tuple[Any, ...]:
        """The groups that decide what a step computes: all but the dataset's."""
        return (self.model, self.loss, self.optimizer, self.augment, self.hints, self.reference, self.trainer)

    def check_fits(self, manifest: Manifest) -> None:
        """Checks the settings against the dataset.

        Raises:
          UsageError: the training split is empty, smaller than a batch or than an epoch, the dataset lacks a
            line style, the palette has more colours than the loss takes, or the network does not take images
            of this size.
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
        style_probabilities(self.augment.line_weights, manifest.lines)
        if self.loss.neighbour_sigma and len(manifest.palette) > MAX_SIMILAR_COLORS:
            raise UsageError(
                f"loss.neighbour_sigma={self.loss.neighbour_sigma:g} takes palettes of up to "
                f"{MAX_SIMILAR_COLORS:,} colours, but this one has {len(manifest.palette):,}: "
                "type loss.neighbour_sigma=0"
            )
        if self.model.reference and len(manifest.palette) > MAX_SIMILAR_COLORS:
            raise UsageError(
                f"model.reference=true takes palettes of up to {MAX_SIMILAR_COLORS:,} colours, but this one "
                f"has {len(manifest.palette):,}: type model.reference=false"
            )
        if size % self.model.stride:
            raise UsageError(
                f"model={self.model.name} takes multiples of {self.model.stride} px, but these "
                f"images are {size} px: preprocess with another --image_size, or choose another model"
            )

    def steps_per_epoch(self, train_examples: int) -> int:
        """Returns trainer.steps_per_epoch, or the number of whole batches in the training split."""
        return self.trainer.steps_per_epoch or train_examples // self.trainer.batch_size
