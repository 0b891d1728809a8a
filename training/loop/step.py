"""The compiled steps: a packed batch in; one update of the weights, and sums of scores, out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import keras
import tensorflow as tf

import tfrecords_schema as schema
from training.config import TrainConfig
from training.data.augment import augment
from training.data.hints import append_hints, simulate_hints, simulate_point_hints
from training.data.stateless_random import StatelessRandom
from training.data.unpack import unpack_edges
from training.loop.distribution import Replicas
from training.loop.ema import averaged_copy, update_averages
from training.loop.optimizers import hidden_kernels, make_optimizer
from training.metrics.losses import TrainingLoss, cross_entropy, to_logits
from training.metrics.scores import Tally, pixel_sums, tally_pixels
from training.models import input_and_output_layers

Step = Callable[..., tf.Tensor]


@dataclass(frozen=True)
class Learner:
    """A network, its optimizer, and the two steps compiled from them.

    `judged` is the network that is evaluated, shown and saved: the mean of `net` over its last steps when
    `trainer.ema` is set, or else `net` itself.

    Both steps take the columns of a packed batch: edges uint8 [B, S*S/8], labels [B, S, S] and ids [B], which
    decide the augmentation together with the epoch (an integer scalar), to be given first to train. Training
    returns `pixel_sums`, which cost next to nothing; evaluation returns a `Tally`.

    To train, `replicas` share the batch, as `replicas.rows` deals it out; it is evaluated by one of them.
    """

    net: keras.Model
    judged: keras.Model
    optimizer: keras.optimizers.Optimizer
    train_step: Step
    eval_step: Callable[..., Tally]

    @property
    def variables(self) -> list[keras.Variable]:
        """All that a step reads and changes, in an order that the settings alone decide."""
        averages = self.judged.variables if self.judged is not self.net else []
        return [*self.net.variables, *self.optimizer.variables, *averages]

    @classmethod
    def of(
        cls, net: keras.Model, manifest: schema.Manifest, config: TrainConfig, replicas: Replicas
    ) -> Learner:
        """Compiles the steps (at their first call) for the images and colours of `manifest`.

        `net` was built in the scope of the strategy of `replicas`, and so must this be called there.
        """
        kernels = hidden_kernels(net, input_and_output_layers(config.model))
        optimizer = make_optimizer(config.optimizer, config.trainer.precision, kernels)
        optimizer.build(net.trainable_variables)
        judge = _make_judge(config, TrainingLoss.from_config(config.loss, manifest), optimizer)
        image_size = manifest.image_size
        seed, jit, ema = config.trainer.seed, config.trainer.jit_compile, config.trainer.ema
        judged = net if ema is None else averaged_copy(net)
        replicas.synchronize(net)

        def share(epoch: tf.Tensor, packed: tf.Tensor, labels: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
            edges = unpack_edges(packed, image_size)
            random = StatelessRandom(seed, epoch, ids)
            drawings, labels = augment(edges, labels, random, config.augment)
            if config.model.hints:
                drawings = append_hints(
                    drawings, simulate_hints(labels, random, config.hints), manifest.palette
                )
            with tf.GradientTape() as tape:
                outputs = net(drawings, training=True)
            sums, slope = judge(outputs, labels)
            gradients = tape.gradient(outputs, net.trainable_variables, output_gradients=slope)
            optimizer.apply(replicas.summed(gradients), net.trainable_variables)
            return sums

        def train_step(epoch: tf.Tensor, *columns: tf.Tensor) -> tf.Tensor:
            sums = replicas.run(functools.partial(share, epoch), *columns)
            if ema is not None:
                update_averages(judged, net, optimizer.iterations, ema)
            return sums

        # XLA compiles what one device does, not what several say to each other.
        compiled = tf.function(train_step, jit_compile=jit and replicas.count == 1, reduce_retracing=True)
        (eval_step,) = make_eval_steps(judged, manifest, config.model.gives_logits, jit_compile=jit)
        return cls(net, judged, optimizer, compiled, eval_step)


class EvalCondition(NamedTuple):
    """How a drawing is given to a network that is judged: its lines' width in pixels, and so many hints."""

    line_width: int = 1
    hints: int = 0

    def __str__(self) -> str:
        return f"{self.hints} hints" if self.hints else f"{self.line_width} px"


def make_eval_steps(
    net: keras.Model,
    manifest: schema.Manifest,
    gives_logits: bool,
    *,
    jit_compile: bool = False,
    ways: Sequence[EvalCondition] = (EvalCondition(),),
) -> list[Callable[..., Tally]]:
    """Steps that judge `net`: from a packed batch with its ids (which say where hints lie) to a tally."""
    takes_hints = net.input_shape[-1] > 1

    @tf.function(jit_compile=True, reduce_retracing=True)
    def judge(outputs: tf.Tensor, labels: tf.Tensor) -> Tally:
        logits = to_logits(outputs, gives_logits)
        return tally_pixels(cross_entropy(logits, labels), logits, labels, manifest.palette.rgb)

    size = manifest.image_size
    # Said beforehand, so that the last batch, which may be smaller, is not traced anew.
    signature = (
        tf.TensorSpec([None, size * size // 8], tf.uint8),
        tf.TensorSpec([None, size, size], manifest.label_dtype),
        tf.TensorSpec([None], tf.int32),
    )

    def eval_step(way: EvalCondition, packed: tf.Tensor, labels: tf.Tensor, ids: tf.Tensor) -> Tally:
        drawings = unpack_edges(packed, size)
        if way.line_width > 1:
            drawings = tf.nn.max_pool2d(drawings, way.line_width, 1, "SAME")
        if takes_hints:
            given = (
                simulate_point_hints(labels, StatelessRandom(0, tf.constant(0), ids), way.hints)
                if way.hints
                else None
            )
            drawings = append_hints(drawings, given, manifest.palette)
        return judge(net(drawings, training=False), labels)

    compiled = tf.function(jit_compile=jit_compile, input_signature=signature)
    return [compiled(functools.partial(eval_step, way)) for way in ways]


def _make_judge(
    config: TrainConfig, objective: TrainingLoss, optimizer: keras.optimizers.Optimizer
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
            scaled = optimizer.scale_loss(loss if objective.is_cross_entropy else objective(logits, labels))
        return pixel_sums(loss, logits, labels), tape.gradient(scaled, outputs)

    return judge
