"""EnsembleAdversarialModel: adversarial training on attacks crafted on other networks too."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from aad_tf.attacks import GradientSignAttack
from aad_tf.classifier import Classifier
from aad_tf.defenses.adversarial import AdversarialModel
from aad_tf.defenses.saving import classifier_from_config

# Keeps the draw of the source independent of random starts, which use the same seed.
_DRAW = 1


@keras.saving.register_keras_serializable("aad_tf")
class EnsembleAdversarialModel(AdversarialModel):
    """Ensemble adversarial training (Tramer et al. 2018), a baseline of [AAD Table 5].

    The adversarial images of each batch are made on one network, drawn uniformly from static
    networks, the sources, and the network in training. Images crafted on the sources do not depend
    on the weights in training. So the network cannot evade them by masking its own gradients, as it
    can evade single-step attacks on itself.

    The draw depends on the seed and the number of updates alone, so that a resumed run equals one
    without a break. The sources run in inference mode and never change. `save` writes them too,
    `save_weights` does not. In training, `adversarial_accuracy` counts images crafted on the
    networks drawn; `evaluate` and validation attack the network in training itself, so
    `val_adversarial_accuracy` can be compared with that of other defences.

    Args:
        network: any Keras classifier.
        sources: trained networks for the same images and classes; Classifiers, or Keras models,
            which then take pixels in the bounds of `network`.
        attack: makes the adversarial images of each batch on the network drawn; an attack object,
            or text such as `"fgsm(epsilon=0.1)"`. Tramer et al. use single-step attacks (FGSM,
            StepLL).
        include_self: False draws from `sources` alone.
        **kwargs: further arguments of `AdversarialModel`: `replace_clean` (whether it trains on
            adversarial images alone), `attention_layer` (the layer that attention maps explain),
            `bounds` (the pixel range), `input_shape`, `seed` (of draws and random starts),
            `warmup_steps` (updates over which perturbations grow to their full size),
            `label_smoothing`.

    Raises:
        TypeError: `attack` is no attack, `network` no Keras model or Classifier, or `sources` no
            sequence of such networks.
        ValueError: text that is no attack; a network that `Classifier.from_keras` refuses; an
            epsilon or step size larger than the pixel range; no source; or a source that takes
            other images, has other classes or bounds, or shares weights with `network`.

    Example:
        >>> sources = [aad_tf.model_directory.load_classifier(path)[0] for path in directories]
        >>> attack = aad_tf.attacks.step_ll(16 / 255)
        >>> model = EnsembleAdversarialModel(network, sources=sources, attack=attack)
        >>> model.compile("adam")
        >>> model.fit(images, labels)
    """

    def __init__(
        self,
        network: keras.Model | Classifier,
        *,
        sources: Sequence[keras.Model | Classifier],
        attack: GradientSignAttack | str,
        include_self: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, attack=attack, **kwargs)
        self.include_self = include_self
        self.set_sources(sources)

    def set_sources(self, sources: Sequence[keras.Model | Classifier]) -> None:
        """Replaces the static networks that images are crafted on.

        Args:
            sources: trained networks for the same images and classes, at least one; Classifiers, or
                Keras models that take the pixel range of the network in training.

        Raises:
            TypeError: no sequence, or something other than networks in it.
            ValueError: no source, or one that takes other images, has other classes or bounds, or
                shares weights with the network in training.
        """
        # Keras tracks layers and models, not Classifiers: the sources stay out of its variables.
        self.sources = _checked_sources(sources, self.classifier)
        self._sources_have_weights = True

    def _trained_sources(self) -> tuple[Classifier, ...]:
        if not self._sources_have_weights:
            raise ValueError(
                "The sources of this model were rebuilt from a config, which holds no weights. "
                "Give trained ones: model.set_sources([...]), or use keras.saving.load_model."
            )
        return self.sources

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments by name, as values that JSON can hold.

        The class method `from_config` builds an equal defence from them. Weights of the network and
        of the static networks (`sources`) are not among them.
        """
        return {
            **super().get_config(),
            "sources": [source.get_config() for source in self.sources],
            "include_self": self.include_self,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Builds the defence that `get_config` described, with newly initialized weights.

        Training raises a ValueError until the static networks that images are crafted on, the
        sources, get weights: by `set_sources`, or because `keras.saving.load_model` loads a file.

        Args:
            config: arguments of the constructor by name, as `get_config` returned them.
            custom_objects: the user's classes and functions by name, as Keras takes them.

        Returns:
            A defence, not compiled.
        """
        sources = [classifier_from_config(each, custom_objects) for each in config["sources"]]
        model = super().from_config({**config, "sources": sources}, custom_objects)
        model._sources_have_weights = False
        return model

    def save_assets(self, directory: str) -> None:
        """Writes the weights of the sources, the static networks that images are crafted on.

        Keras calls it when the whole model is saved.

        Args:
            directory: gets a file `source_<index>.weights.h5` for each source.

        Raises:
            ValueError: the sources have no weights yet.
        """
        for index, source in enumerate(self._trained_sources()):
            source.model.save_weights(os.path.join(directory, f"source_{index}.weights.h5"))

    def load_assets(self, directory: str) -> None:
        """Reads the weights of the sources, the static networks that images are crafted on.

        Keras calls it when the whole model is loaded.

        Args:
            directory: the directory that `save_assets` wrote to.
        """
        for index, source in enumerate(self.sources):
            source.model.load_weights(os.path.join(directory, f"source_{index}.weights.h5"))
        self._sources_have_weights = True

    @property
    def attacked_networks(self) -> tuple[Classifier, ...]:
        """The networks of which one is drawn to attack each batch in training.

        They are the sources in their order, and last, with `include_self`, the network in training.

        Raises:
            ValueError: the sources have no weights yet.
        """
        sources = self._trained_sources()
        return (*sources, self.classifier) if self.include_self else sources

    def draw(self) -> tf.Tensor:
        """Draws the network that the batch of this update is attacked on, each equally likely.

        The draw depends on the seed and the number of updates alone.

        Returns:
            int32 scalar, an index into `attacked_networks`.
        """
        seed = tf.random.experimental.stateless_fold_in(self.attack_seed(), _DRAW)
        return tf.random.stateless_uniform((), seed, 0, len(self.attacked_networks), tf.int32)

    def adversarial_images(
        self, images: tf.Tensor, labels: tf.Tensor, training: bool = True
    ) -> tf.Tensor:
        """Attacks one network on a batch and returns the images after the last iteration.

        Args:
            images: `[batch, H, W, C]`, clean images within the network's pixel range.
            labels: int32 `[batch]`, true labels.
            training: True attacks a network drawn from the sources and, with `include_self`, the
                network in training; False attacks the network in training.

        Returns:
            `[batch, H, W, C]`.

        Raises:
            ValueError: in training, if the sources have no weights yet.
        """
        if not training:
            return super().adversarial_images(images, labels, training=False)
        branches = [
            functools.partial(self._attacked_on, classifier, images, labels)
            for classifier in self.attacked_networks
        ]
        return tf.ensure_shape(tf.switch_case(self.draw(), branches), images.shape)

    def _attacked_on(
        self, classifier: Classifier, images: tf.Tensor, labels: tf.Tensor
    ) -> tf.Tensor:
        cast = tf.cast(images, classifier.dtype)
        adversarial = self.attack.last_in_graph(classifier, cast, labels, self.attack_seed())
        return tf.cast(adversarial, images.dtype)


def _checked_sources(sources: Any, classifier: Classifier) -> tuple[Classifier, ...]:
    """Returns the sources as Classifiers that can stand in for `classifier`."""
    if isinstance(sources, str) or not isinstance(sources, Sequence):
        raise TypeError(
            f"sources must be a sequence of Classifiers or Keras models, got "
            f"{type(sources).__name__}. Put a single source into a list."
        )
    if not sources:
        raise ValueError(
            "sources holds no network. Give at least one, or use AdversarialModel, which attacks "
            "the network in training alone."
        )
    return tuple(
        _checked_source(source, f"sources[{index}]", classifier)
        for index, source in enumerate(sources)
    )


def _checked_source(source: Any, name: str, classifier: Classifier) -> Classifier:
    if not isinstance(source, (Classifier, keras.Model)):
        raise TypeError(
            f"{name} must be a Classifier or a Keras model, got {type(source).__name__}. Load the "
            f"network of a model directory with aad_tf.model_directory.load_classifier(path)[0]."
        )
    if not isinstance(source, Classifier):
        source = Classifier.from_keras(source, bounds=classifier.bounds)
    same_shape = tf.TensorShape(source.input_shape).is_compatible_with(classifier.input_shape)
    for what, agrees in (
        ("input_shape", same_shape),
        ("num_classes", source.num_classes == classifier.num_classes),
        ("bounds", source.bounds == classifier.bounds),
    ):
        if not agrees:
            raise ValueError(
                f"{name} has {what} {getattr(source, what)}, but the network in training "
                f"{getattr(classifier, what)}. Sources must take the same images and tell the "
                f"same classes apart."
            )
    own = {id(variable) for variable in classifier.variables}
    if any(id(variable) in own for variable in source.variables):
        raise ValueError(
            f"{name} shares weights with the network in training, so it would not stay as it is. "
            f"The network itself takes part by include_self=True; for a static copy use "
            f"keras.models.clone_model and set_weights."
        )
    return source
