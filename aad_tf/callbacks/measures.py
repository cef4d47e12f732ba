"""Measures under attack as validation metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from aad_tf.attacks import Attack
from aad_tf.attacks.parsing import as_attack
from aad_tf.attention import attention_area, grad_cam
from aad_tf.attention.areas import rule_for_any_batch
from aad_tf.callbacks.base import ClassifierCallback, example_batches
from aad_tf.classifier import Classifier, checked_inputs
from aad_tf.metrics import iou, robust_accuracy
from aad_tf.types import Bounds


class AttackCallback(ClassifierCallback):
    """Attacks a data set after an epoch and adds what `evaluate` gives to the logs.

    Arguments are those of `RobustAccuracy` and, as `**kwargs`, of `ClassifierCallback`.
    """

    def __init__(
        self,
        dataset: Any,
        attack: Attack | str,
        name: str,
        *,
        seed: int = 0,
        batch_size: int = 128,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._attack = as_attack(attack, self.bounds)
        self._batches = example_batches(dataset, self.bounds, batch_size)
        self._name = name
        self._seed = seed

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """`(H, W, C)` as far as the data set tells; entries may be None."""
        spec = self._batches.element_spec[0]
        return None if isinstance(spec, Mapping) else tuple(spec.shape[1:])

    def check(self, classifier: Classifier) -> None:
        """Raises unless there are examples and the first batch is what the network takes."""
        for images, labels, *_ in self._batches:
            checked_inputs(classifier, images, labels)
            return
        raise ValueError("The data set is empty: there is nothing to measure on.")

    def evaluate(self, classifier: Classifier) -> float:
        """The number for a network, also outside of `fit`."""
        raise NotImplementedError

    def measure(self, epoch: int) -> dict[str, float]:
        """See `EpochCallback`."""
        return {f"val_{self._name}": self.evaluate(self.classifier)}

    def _attacked(self, classifier: Classifier) -> Iterator[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        """Images, adversarial images and labels, batch by batch."""
        for index, (images, labels, *_) in enumerate(self._batches):
            images, labels = checked_inputs(classifier, classifier.images_of(images), labels)
            # Another seed per batch, or all batches would have the same random starts.
            yield images, self._attack(classifier, images, labels, seed=self._seed + index), labels


class RobustAccuracy(AttackCallback):
    """Accuracy under attack as a validation metric, for EarlyStopping and ModelCheckpoint.

    An example counts if it is classified correctly both as it is and under attack, as in
    `aad_tf.metrics.robust_accuracy`. Stand this callback before those that watch it. On epochs
    that `every` leaves out the logs have no such value.

    Args:
        dataset: finite `tf.data.Dataset` of batches `(images, labels)`, streamed, or a pair of
            arrays; images float `[batch, H, W, C]` within `bounds`, labels int `[batch]`.
        attack: such as `aad_tf.attacks.pgd(0.1, 0.02, 10)`, or its text.
        name: the logs call the number `val_` and this.
        every: epochs between two measurements.
        bounds: pixel range the network takes.
        seed: of random starts; every epoch sees the same ones.
        batch_size: to cut arrays by.
        output: which of several outputs counts, as in `Classifier.from_keras`; a defence has its
            own.

    Raises:
        TypeError, ValueError: what is wrong with the examples, or no attack.

    Example:
        >>> robust = RobustAccuracy(validation, aad_tf.attacks.fgsm(0.1))
        >>> stop = keras.callbacks.EarlyStopping("val_robust_accuracy", mode="max", patience=3)
        >>> model.fit(images, labels, epochs=50, callbacks=[robust, stop])
    """

    def __init__(
        self,
        dataset: Any,
        attack: Attack | str,
        name: str = "robust_accuracy",
        every: int = 1,
        *,
        bounds: Bounds = Bounds(0.0, 1.0),
        seed: int = 0,
        batch_size: int = 128,
        output: str | int | None = None,
    ) -> None:
        super().__init__(
            dataset,
            attack,
            name,
            every=every,
            bounds=bounds,
            seed=seed,
            batch_size=batch_size,
            output=output,
        )

    def evaluate(self, classifier: Classifier) -> float:
        """Robust accuracy of a network, in [0, 1]; see `aad_tf.metrics.robust_accuracy`."""
        parts = [
            (labels, _predicted(classifier, images), _predicted(classifier, adversarial))
            for images, adversarial, labels in self._attacked(classifier)
        ]
        return robust_accuracy(*(np.concatenate(part) for part in zip(*parts, strict=True)))


class AttentionIoU(AttackCallback):
    """Mean overlap of clean and adversarial attention areas, IoU_ori_adv of [AAD Eq. 5].

    Both maps explain the true label. A pair of empty areas (maps that are zero, or nowhere above
    the threshold) says nothing about overlap: such pairs are left out of the mean, and the logs
    hold their fraction of all pairs as `val_<name>_empty`. If all are empty, the mean is 0 and the
    fraction 1. A pair with one empty area has IoU 0. `val_<name>_zero_clean` and
    `val_<name>_zero_attacked` are the fractions of Grad-CAM maps that are zero everywhere, through
    which an attention loss has no gradient. On epochs that `every` leaves out the logs have none
    of these.

    Args:
        dataset: finite `tf.data.Dataset` of batches `(images, labels)`, streamed, or a pair of
            arrays; images float `[batch, H, W, C]` within `bounds`, labels int `[batch]`.
        attack: such as `aad_tf.attacks.step_ll(0.1)`, or its text.
        threshold: rule of the attention area, as for `aad_tf.attention.attention_area`;
            `TopCells(n)` keeps the n highest cells, as [AAD Table 3] does.
        name: the logs call the mean `val_` and this; the fractions `val_`, this and `_empty`,
            `_zero_clean`, `_zero_attacked`.
        every: epochs between two measurements.
        attention_layer: layer that maps explain; that of the defence, or found, when None.
        bounds: pixel range the network takes.
        seed: of random starts; every epoch sees the same ones.
        batch_size: to cut arrays by.
        output: which of several outputs counts, as in `Classifier.from_keras`; a defence has its
            own.

    Raises:
        TypeError, ValueError: what is wrong with the examples or the rule, or no attack.

    Example:
        >>> overlap = AttentionIoU(validation, aad_tf.attacks.step_ll(0.1), TopCells(10))
        >>> model.fit(images, labels, callbacks=[overlap])  # logs val_attention_iou, ..._empty, ...
    """

    def __init__(
        self,
        dataset: Any,
        attack: Attack | str,
        threshold: Any = "mean",
        name: str = "attention_iou",
        every: int = 1,
        *,
        attention_layer: str | None = None,
        bounds: Bounds = Bounds(0.0, 1.0),
        seed: int = 0,
        batch_size: int = 128,
        output: str | int | None = None,
    ) -> None:
        rule_for_any_batch(threshold)
        super().__init__(
            dataset,
            attack,
            name,
            every=every,
            attention_layer=attention_layer,
            bounds=bounds,
            seed=seed,
            batch_size=batch_size,
            output=output,
        )
        self._threshold = threshold

    def evaluate(self, classifier: Classifier) -> float:
        """Mean IoU over pairs that are not empty, in [0, 1]; see `aad_tf.metrics.iou`."""
        return self._found(classifier)[""]

    def measure(self, epoch: int) -> dict[str, float]:
        """See `EpochCallback`."""
        found = self._found(self.classifier)
        return {f"val_{self._name}{ending}": value for ending, value in found.items()}

    def _found(self, classifier: Classifier) -> dict[str, float]:
        """The mean and the fractions, by what their names end in."""
        overlaps, empty, zero_clean, zero_attacked = [], [], [], []
        for images, adversarial, labels in self._attacked(classifier):
            clean, zero = self._area(classifier, images, labels)
            zero_clean.append(zero)
            attacked, zero = self._area(classifier, adversarial, labels)
            zero_attacked.append(zero)
            overlaps.append(iou(clean, attacked).numpy())
            empty.append(~np.any(clean | attacked, axis=(1, 2)))
        left_out = np.concatenate(empty)
        kept = np.concatenate(overlaps)[~left_out]
        return {
            "": float(kept.mean()) if len(kept) else 0.0,
            "_empty": float(left_out.mean()),
            "_zero_clean": float(np.concatenate(zero_clean).mean()),
            "_zero_attacked": float(np.concatenate(zero_attacked).mean()),
        }

    def _area(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[np.ndarray, np.ndarray]:
        """Areas, and which maps are zero."""
        maps = grad_cam(classifier, images, labels)
        # The highest cells of a zero map would be whichever come first.
        seen = tf.reduce_any(maps > 0, axis=(1, 2), keepdims=True)
        area = (attention_area(maps, self._threshold) > 0) & seen
        return area.numpy(), ~seen.numpy()[:, 0, 0]


def _predicted(classifier: Classifier, images: tf.Tensor) -> np.ndarray:
    logits = classifier.predict_logits(tf.cast(images, classifier.dtype))
    return tf.argmax(logits, axis=-1, output_type=tf.int32).numpy()
