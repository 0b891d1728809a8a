"""The compiled steps: one updates the weights on a packed batch, the other computes scores."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

import tfrecords_schema as schema
from training.config import TrainConfig
from training.data.augment import augment
from training.data.hints import append_hints, simulate_hints, simulate_point_hints
from training.data.reference import commonest_colors, label_fractions, simulate_reference
from training.data.stateless_random import StatelessRandom
from training.data.unpack import unpack_edges
from training.loop.distribution import Replicas
from training.loop.ema import averaged_copy, update_averages
from training.loop.optimizers import hidden_kernels, make_optimizer
from training.metrics.losses import TrainingLoss, cross_entropy, to_logits
from training.metrics.reference_matching import reference_bias
from training.metrics.scores import Tally, pixel_sums, tally_pixels
from training.models import input_and_output_layers
from training.models.inputs import call, takes_hints

Step = Callable[..., tf.Tensor]


@dataclass(frozen=True)
class CompiledModel:
    """A network with its optimizer and the two steps compiled from them.

    `eval_net` is the network that is evaluated, shown and saved: the moving average of `net` if `trainer.ema`
    is set, otherwise `net` itself.

    Both steps take the columns of a packed batch: edges uint8 [B, S*S/8], labels [B, S, S] and ids int32 [B],
    which seed the augmentation. `train_step` takes the epoch (integer scalar) before them, and columns that
    `Replicas.place` returned; it returns `pixel_sums`. `eval_step` runs on one device and returns a
    `Tally`.
    """

    net: keras.Model
    eval_net: keras.Model
    optimizer: keras.optimizers.Optimizer
    train_step: Step
    eval_step: Callable[..., Tally]

    @property
    def variables(self) -> list[keras.Variable]:
        """All variables that the steps read and change. The config alone determines their order."""
        averages = self.eval_net.variables if self.eval_net is not self.net else []
        return [*self.net.variables, *self.optimizer.variables, *averages]

    @classmethod
    def create(
        cls, net: keras.Model, manifest: schema.Manifest, config: TrainConfig, replicas: Replicas
    ) -> CompiledModel:
        """Creates the optimizer and the steps for the images and colours of `manifest`.

        It must be called in the scope of the strategy of `replicas`, in which `net` was built. TensorFlow
        compiles each step at its first call.
        """
        kernels = hidden_kernels(net, input_and_output_layers(config.model))
        optimizer = make_optimizer(config.optimizer, config.trainer.precision, kernels)
        optimizer.build(net.trainable_variables)
        loss_and_gradient = _make_loss_and_gradient(
            config, TrainingLoss.from_config(config.loss, manifest), optimizer
        )
        image_size = manifest.image_size
        seed, jit, ema = config.trainer.seed, config.trainer.jit_compile, config.trainer.ema
        eval_net = net if ema is None else averaged_copy(net)
        replicas.synchronize_batch_norm(net)

        def replica_step(epoch: tf.Tensor, packed: tf.Tensor, labels: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
            edges = unpack_edges(packed, image_size)
            random = StatelessRandom(seed, epoch, ids)
            drawings, labels = augment(edges, labels, random, config.augment)
            if config.model.hints:
                drawings = append_hints(
                    drawings, simulate_hints(labels, random, config.hints), manifest.palette
                )
            reference = None
            if config.model.reference:
                reference = simulate_reference(labels, random, config.reference, manifest)
            with tf.GradientTape() as tape:
                outputs = call(net, drawings, reference, training=True)
            sums, output_gradient = loss_and_gradient(outputs, labels)
            gradients = tape.gradient(outputs, net.trainable_variables, output_gradients=output_gradient)
            optimizer.apply(replicas.mean_gradients(gradients), net.trainable_variables)
            return sums

        def train_step(epoch: tf.Tensor, *columns: tf.Tensor) -> tf.Tensor:
            sums = replicas.run_and_sum(functools.partial(replica_step, epoch), *columns)
            if ema is not None:
                update_averages(eval_net, net, optimizer.iterations, ema)
            return sums

        # XLA compiles the work of one device, but not the communication between devices.
        compiled = tf.function(train_step, jit_compile=jit and replicas.count == 1, reduce_retracing=True)
        (eval_step,) = make_eval_steps(eval_net, manifest, config.model.gives_logits, jit_compile=jit)
        return cls(net, eval_net, optimizer, compiled, eval_step)


class EvalCondition(NamedTuple):
    """One evaluation condition: line width in pixels, number of hints, and the reference.

    `reference` is one of `REFERENCES`, or "" for none.
    """

    line_width: int = 1
    hints: int = 0
    reference: str = ""

    def __str__(self) -> str:
        if self.reference and self.hints:
            return f"{self.hints} hints, {self.reference} reference"
        if self.reference:
            return f"{self.reference} reference"
        return f"{self.hints} hints" if self.hints else f"{self.line_width} px"


# References for evaluation: the histogram of the example itself, its 4 commonest colours with equal weights,
# and the histogram of the example before it in the batch.
OWN, FOUR_COLORS, WRONG = REFERENCES = ("own", "4 colours", "wrong")


def make_reference(labels: tf.Tensor, kind: str, colors: int) -> tf.Tensor:
    """Returns the reference of each example for evaluation: float32 [B, K].

    Args:
      labels: integers [B, S, S].
      kind: one of `REFERENCES`.
      colors: K.
    """
    fractions = label_fractions(labels, colors)
    if kind == FOUR_COLORS:
        return commonest_colors(fractions, 4)
    return tf.roll(fractions, 1, axis=0) if kind == WRONG else fractions


def match_reference(logits: tf.Tensor, reference: tf.Tensor, strength: float) -> tf.Tensor:
    """Returns `reference_bias` of logits [B, S, S, K] and references [B, K]: float32 [B, K]."""

    def match(logits: np.ndarray, reference: np.ndarray) -> np.ndarray:
        pairs = zip(logits, reference, strict=True)
        return np.stack([reference_bias(picture, wanted, strength) for picture, wanted in pairs])

    bias = tf.numpy_function(match, [logits, reference], tf.float32, stateful=False)
    return tf.ensure_shape(bias, reference.shape)


def batch_signature(manifest: schema.Manifest) -> tuple[tf.TensorSpec, ...]:
    """Returns the shapes and dtypes of the columns of a packed batch of any number of examples."""
    size = manifest.image_size
    return (
        tf.TensorSpec([None, size * size // 8], tf.uint8),
        tf.TensorSpec([None, size, size], manifest.label_dtype),
        tf.TensorSpec([None], tf.int32),
    )


def make_eval_steps(
    net: keras.Model,
    manifest: schema.Manifest,
    gives_logits: bool,
    *,
    jit_compile: bool = False,
    conditions: Sequence[EvalCondition] = (EvalCondition(),),
    reference_strength: float = 0.0,
) -> list[Callable[..., Tally]]:
    """Creates a step for each condition: a function of a packed batch's columns that returns a `Tally`.

    The ids of the batch determine where the hints are placed. With a `reference_strength`, colours are
    chosen as training/metrics/reference_matching.py says; the loss is that of the network.
    """

    @tf.function(jit_compile=True, reduce_retracing=True)
    def compute_tally(outputs: tf.Tensor, bias: tf.Tensor, labels: tf.Tensor) -> Tally:
        logits = to_logits(outputs, gives_logits)
        loss = cross_entropy(logits, labels)
        return tally_pixels(
            loss, tf.cast(logits, tf.float32) + bias[:, None, None], labels, manifest.palette.rgb
        )

    size = manifest.image_size

    def eval_step(condition: EvalCondition, packed: tf.Tensor, labels: tf.Tensor, ids: tf.Tensor) -> Tally:
        drawings = unpack_edges(packed, size)
        if condition.line_width > 1:
            drawings = tf.nn.max_pool2d(drawings, condition.line_width, 1, "SAME")
        if takes_hints(net):
            random = StatelessRandom(0, tf.constant(0), ids)
            hints = simulate_point_hints(labels, random, condition.hints) if condition.hints else None
            drawings = append_hints(drawings, hints, manifest.palette)
        reference = None
        if condition.reference:
            reference = make_reference(labels, condition.reference, len(manifest.palette))
        outputs = call(net, drawings, reference)
        if reference is None or not reference_strength:
            bias = tf.zeros([tf.shape(labels)[0], len(manifest.palette)])
        else:
            bias = match_reference(to_logits(outputs, gives_logits), reference, reference_strength)
        return compute_tally(outputs, bias, labels)

    # The fixed signature keeps a smaller last batch from being traced again.
    compiled = tf.function(jit_compile=jit_compile, input_signature=batch_signature(manifest))
    return [compiled(functools.partial(eval_step, condition)) for condition in conditions]


def _make_loss_and_gradient(
    config: TrainConfig, training_loss: TrainingLoss, optimizer: keras.optimizers.Optimizer
) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Creates a function from outputs and labels to `pixel_sums` and the gradient of the scaled loss.

    The gradient is with respect to the outputs. XLA compiles this function even if the step is not compiled:
    one pass over the logits instead of a dozen halves its time on a CPU, where the rest of the step is faster
    without XLA.
    """

    @tf.function(jit_compile=True, reduce_retracing=True)
    def loss_and_gradient(outputs: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            logits = to_logits(outputs, config.model.gives_logits)
            loss = cross_entropy(logits, labels)
            scaled = optimizer.scale_loss(
                loss if training_loss.is_cross_entropy else training_loss(logits, labels)
            )
        return pixel_sums(loss, logits, labels), tape.gradient(scaled, outputs)

    return loss_and_gradient
