"""The compiled steps: a packed batch in; one update of the weights, and sums of scores, out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import keras
import tensorflow as tf

import tfrecords_schema as schema
from training.augment import augment
from training.config import TrainConfig
from training.draws import Draws
from training.losses import Objective, cross_entropy, to_logits
from training.metrics import Tally, pixel_sums, tally_pixels
from training.optimizers import make_optimizer
from training.pixels import unpack_edges

Step = Callable[..., tf.Tensor]


@dataclass(frozen=True)
class Learner:
    """A network, its optimizer, and the two steps compiled from them.

    Both steps take a packed batch (edges uint8 [B, S*S/8], labels [B, S, S]). To train, ids [B] and the
    epoch (an integer scalar) are needed too: they decide the augmentation. Training returns `pixel_sums`,
    which cost next to nothing; evaluation returns a `Tally`.
    """

    net: keras.Model
    optimizer: keras.optimizers.Optimizer
    train_step: Step
    eval_step: Callable[..., Tally]

    @classmethod
    def of(cls, net: keras.Model, manifest: schema.Manifest, config: TrainConfig) -> Learner:
        """Compiles the steps (at their first call) for the images and colours of `manifest`."""
        optimizer = make_optimizer(config.optimizer, config.trainer.precision)
        optimizer.build(net.trainable_variables)
        judge = _make_judge(config, Objective.of(config.loss, manifest), optimizer)
        image_size, seed, jit = manifest.image_size, config.trainer.seed, config.trainer.jit_compile

        def train_step(packed: tf.Tensor, labels: tf.Tensor, ids: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
            edges = unpack_edges(packed, image_size)
            edges, labels = augment(edges, labels, Draws(seed, epoch, ids), config.augment)
            with tf.GradientTape() as tape:
                outputs = net(edges, training=True)
            sums, slope = judge(outputs, labels)
            gradients = tape.gradient(outputs, net.trainable_variables, output_gradients=slope)
            optimizer.apply(gradients, net.trainable_variables)
            return sums

        compiled = tf.function(train_step, jit_compile=jit, reduce_retracing=True)
        (eval_step,) = make_eval_steps(net, manifest, config.model.gives_logits, jit_compile=jit)
        return cls(net, optimizer, compiled, eval_step)


def make_eval_steps(
    net: keras.Model,
    manifest: schema.Manifest,
    gives_logits: bool,
    *,
    jit_compile: bool = False,
    line_widths: tuple[int, ...] = (1,),
) -> list[Callable[..., Tally]]:
    """Steps that judge `net`: from a packed batch to a tally, each with its lines so many pixels wide."""

    @tf.function(jit_compile=True, reduce_retracing=True)
    def judge(outputs: tf.Tensor, labels: tf.Tensor) -> Tally:
        logits = to_logits(outputs, gives_logits)
        return tally_pixels(cross_entropy(logits, labels), logits, labels, manifest.palette.rgb)

    size = manifest.image_size
    # Said beforehand, so that the last batch, which may be smaller, is not traced anew.
    signature = (
        tf.TensorSpec([None, size * size // 8], tf.uint8),
        tf.TensorSpec([None, size, size], manifest.label_dtype),
    )

    def eval_step(line_width: int, packed: tf.Tensor, labels: tf.Tensor) -> Tally:
        edges = unpack_edges(packed, size)
        if line_width > 1:
            edges = tf.nn.max_pool2d(edges, line_width, 1, "SAME")
        return judge(net(edges, training=False), labels)

    compiled = tf.function(jit_compile=jit_compile, input_signature=signature)
    return [compiled(functools.partial(eval_step, width)) for width in line_widths]


def _make_judge(
    config: TrainConfig, objective: Objective, optimizer: keras.optimizers.Optimizer
) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """From outputs and labels to `pixel_sums`, and the (scaled) objective's gradient by the outputs.

    XLA compiles this part even when the step is not compiled: one pass over the logits instead of a dozen
    halves its time on a CPU, where the rest is faster without XLA.
    """

    @tf.function(jit_compile=True, reduce_retracing=True)
    def judge(outputs: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            logits = to_logits(outputs, config.model.gives_logits)
            loss = cross_entropy(logits, labels)
            scaled = optimizer.scale_loss(loss if objective.is_plain else objective(logits, labels))
        return pixel_sums(loss, logits, labels), tape.gradient(scaled, outputs)

    return judge
