"""Callbacks that attack a data set after an epoch and log accuracy or attention overlap."""

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
from aad_tf.utils.checks import LARGEST_SEED, check_count

_EMPTY = "The data set is empty: there is nothing to measure on."


class AttackCallback(ClassifierCallback):
    """Base class of callbacks that attack a data set after an epoch and log one number.

    Args:
        dataset: finite `tf.data.Dataset` of batches `(images, labels)`, or a pair of arrays; images
            float `[batch, H, W, C]` in the network's pixel range, labels int `[batch]`.
        attack: an attack such as `aad_tf.attacks.fgsm(0.1)`, or its text `"fgsm(epsilon=0.1)"`.
        name: the number is logged as `val_<name>`.
        seed: int from 0 to 2**31 - 1, seed of random starts, the same in every epoch.
        batch_size: examples per batch if `dataset` is a pair of arrays.
        **kwargs: `attention_layer` (name of the layer that maps explain), `bounds` (pixel range),
            `every` (epochs from one measurement to the next) and `output` (of a network with
            several outputs, the one with the class scores).

    Raises:
        TypeError: a data set, attack or seed of another type, or images not floating point.
        ValueError: text that is not an attack, an attack larger than the pixel range, a seed out of
            range, or examples that are not valid.
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
        self._seed = check_count(seed, "seed", 0, LARGEST_SEED)

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """`(H, W, C)` of the images, with None for sizes that the data set does not state.

        It is None as a whole if the data set gives images in dictionaries.
        """
        spec = self._batches.element_spec[0]
        return None if isinstance(spec, Mapping) else tuple(spec.shape[1:])

    def check(self, classifier: Classifier) -> None:
        """Checks that the data set has examples and its first batch fits the network.

        It is called before the first epoch.

        Args:
            classifier: the network that is trained.

        Raises:
            TypeError: images that are not floating point, or labels that are not numbers.
            ValueError: no examples, or examples that do not fit the network.
        """
        for images, labels, *_ in self._batches:
            checked_inputs(classifier, images, labels)
            return
        raise ValueError(_EMPTY)

    def evaluate(self, classifier: Classifier) -> float:
        """Computes the number that is logged; subclasses implement it.

        `measure` calls it after an epoch for the network that is trained. It can also be called
        outside of `fit`.

        Args:
            classifier: any network that takes the callback's images and classes.

        Returns:
            One number, such as an accuracy in [0, 1].
        """
        raise NotImplementedError

    def measure(self, epoch: int) -> dict[str, float]:
        """Attacks the data set on the trained network; called after epochs that are measured.

        Args:
            epoch: number of the epoch that has just ended, counted from 0; not used.

        Returns:
            A dictionary of one entry: `val_<name>`, and the number that `evaluate` computes.
        """
        return {f"val_{self._name}": self.evaluate(self.classifier)}

    def _attacked(self, classifier: Classifier) -> Iterator[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        """Images, adversarial images and labels, batch by batch."""
        index = None
        for index, (images, labels, *_) in enumerate(self._batches):
            images, labels = checked_inputs(classifier, classifier.images_of(images), labels)
            # Another seed per batch, or all batches would have the same random starts.
            yield images, self._attack(classifier, images, labels, seed=self._seed + index), labels
        if index is None:
            raise ValueError(_EMPTY)


class RobustAccuracy(AttackCallback):
    """Logs the accuracy under attack after an epoch, for EarlyStopping and ModelCheckpoint.

    It is the fraction of examples that are classified correctly both without and under attack, in
    [0, 1]. In the list of callbacks it must come before those that monitor it. After epochs in
    which nothing is measured the logs have no such value.

    Args:
        dataset: finite `tf.data.Dataset` of batches `(images, labels)`, or a pair of arrays; images
            float `[batch, H, W, C]` within `bounds`, labels int `[batch]`.
        attack: such as `aad_tf.attacks.pgd(0.1, 0.02, 10)`, or its text.
        name: the number is logged as `val_<name>`.
        every: number of epochs from one measurement to the next.
        bounds: pixel range that the network takes.
        seed: int from 0 to 2**31 - 1, seed of random starts, the same in every epoch.
        batch_size: examples per batch if `dataset` is a pair of arrays.
        output: name or number of the output with the class scores, for a network with several
            outputs; not used for a defence such as `AADModel`.

    Raises:
        TypeError: a data set, attack or seed of another type, or images not floating point.
        ValueError: text that is not an attack, a seed out of range, or examples that are not valid.

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
        """Computes the accuracy of a network on the data set under the callback's attack.

        Args:
            classifier: any network that takes these images and classes, also outside of `fit`.

        Returns:
            The fraction of examples classified correctly both without and under attack, in [0, 1].

        Raises:
            TypeError: images that are not floating point, or labels that are not numbers.
            ValueError: no examples, or examples that do not fit the network.
        """
        parts = [
            (labels, _predicted(classifier, images), _predicted(classifier, adversarial))
            for images, adversarial, labels in self._attacked(classifier)
        ]
        return robust_accuracy(*(np.concatenate(part) for part in zip(*parts, strict=True)))


class AttentionIoU(AttackCallback):
    """Logs the mean IoU of attention areas without and under attack, IoU_ori_adv of [AAD Eq. 5].

    An attention area holds the cells where the Grad-CAM map is high. The areas of the clean and of
    the attacked image are compared; both maps explain the true label. The logs get four numbers in
    [0, 1] after an epoch:
    `val_<name>`: the mean IoU over images. Images both of whose areas are empty are left out of
        it; if one of the two is empty, the IoU is 0. The mean is 0 if all images are left out.
    `val_<name>_empty`: the fraction of images that are left out.
    `val_<name>_zero_clean`, `val_<name>_zero_attacked`: the fractions of original and of attacked
        images whose map is zero everywhere. Through such a map an attention loss has no gradient.
    After epochs in which nothing is measured the logs have none of these.

    Args:
        dataset: finite `tf.data.Dataset` of batches `(images, labels)`, or a pair of arrays; images
            float `[batch, H, W, C]` within `bounds`, labels int `[batch]`.
        attack: such as `aad_tf.attacks.step_ll(0.1)`, or its text.
        threshold: rule of the attention area: `"mean"`, cells above the mean of their map;
            `"batch_mean"`, above the mean of all maps of the batch; a number, above it; or
            `TopCells(n)`, the n highest cells, as in [AAD Table 3].
        name: name of the numbers in the logs.
        every: number of epochs from one measurement to the next.
        attention_layer: name of the layer that maps explain; None for that of the trained model if
            it is a defence such as `AADModel`, else for the last layer whose output is a grid of
            the image and through which every path from images to logits leads.
        bounds: pixel range that the network takes.
        seed: int from 0 to 2**31 - 1, seed of random starts, the same in every epoch.
        batch_size: examples per batch if `dataset` is a pair of arrays.
        output: name or number of the output with the class scores, for a network with several
            outputs; not used for a defence such as `AADModel`.

    Raises:
        TypeError: a data set, attack or seed of another type, images not floating point, or a
            `MatchingArea`, which belongs to one batch.
        ValueError: text that is not an attack, an unknown rule, a seed out of range, or examples
            that are not valid.

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
        """Computes how far the attention areas of clean and attacked images overlap.

        Args:
            classifier: any network that takes these images and classes, also outside of `fit`.

        Returns:
            The intersection of the area of the clean image and that of the attacked one divided by
            their union, in [0, 1], as a mean over images at least one of whose two areas is not
            empty; 0 if there is none.

        Raises:
            TypeError: images that are not floating point, or labels that are not numbers.
            ValueError: no examples, or examples that do not fit the network.
        """
        return self._found(classifier)[""]

    def measure(self, epoch: int) -> dict[str, float]:
        """Computes the four numbers for the logs; called after epochs that are measured.

        Args:
            epoch: number of the epoch that has just ended, counted from 0; not used.

        Returns:
            Numbers in [0, 1]: `val_<name>`, the mean IoU of the attention areas of clean and
            attacked images; `val_<name>_empty`, the fraction of images both of whose areas are
            empty, which the mean leaves out; `val_<name>_zero_clean` and
            `val_<name>_zero_attacked`, the fractions of clean and of attacked images whose
            attention map is zero everywhere.
        """
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
