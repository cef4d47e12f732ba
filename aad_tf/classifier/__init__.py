"""Any Keras image classifier as logits and the features of its attention layer."""

from aad_tf.classifier.classifier import Classifier, checked_inputs, held_classifier

__all__ = ["Classifier", "checked_inputs", "held_classifier"]
