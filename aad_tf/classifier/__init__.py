"""Classifier: wraps any Keras image classifier so that it returns logits and attention features.

The *attention layer* is the layer whose output attention maps such as Grad-CAM explain, as a rule
the last one whose output still is a grid of the image.
"""

from aad_tf.classifier.classifier import Classifier, checked_inputs, held_classifier

__all__ = ["Classifier", "checked_inputs", "held_classifier"]
