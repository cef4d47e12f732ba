"""Training without a defence: the plain network every table compares with."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from aad_tf.defenses.base import DefenseModel
from aad_tf.losses import cross_entropy


class StandardModel(DefenseModel):
    """Cross-entropy on clean images, the "clean model" of [AAD Table 5].

    Example:
        >>> model = StandardModel(network)
        >>> model.compile("adam")
        >>> model.fit(images, labels)
    """

    def training_losses(
        self, images: tf.Tensor, labels: tf.Tensor, adversarial: Any, training: bool
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Cross-entropy of clean images; see `DefenseModel`."""
        logits = self.classifier(images, training=training).logits
        loss = cross_entropy(labels, logits, self.label_smoothing if training else 0.0)
        return {"loss": loss}, {"clean": logits}
