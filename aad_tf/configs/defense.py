"""DefenseConfig: which defence a network is trained with, and its settings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from aad_tf.attacks import AttackCascade, as_attack
from aad_tf.attacks.parsing import parse_number
from aad_tf.losses import ATTENTION_NOISE, AADLosses
from aad_tf.losses import PRESETS as LOSS_PRESETS
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_choice, check_count, check_weight

# Fields that other defences must leave at their defaults, and why.
_OF_ONE_KIND = {
    "update_per_round": (False, "aad", "trains on rounds"),
    "fill": ("", "aad", "hides pixels"),
    "attention_noise": ("independent", "aad", "has attention losses"),
    "beta": (6.0, "trades", "weighs a divergence"),
    "pairing": ((0.5, 0.0), "pairing", "pairs logits and maps"),
}
DEFENSES = ("none", "adversarial", "ensemble", "trades", "pairing", "aad")


@dataclass(frozen=True)
class DefenseConfig:
    """The defence that a network is trained with, and its settings.

    Attributes:
        kind: `"none"`; `"adversarial"`, adversarial training; `"ensemble"`, adversarial training
            with images that are attacked on other networks too; `"trades"`, TRADES; `"pairing"`,
            pairing of logits and attention maps; or `"aad"`, Attention-based Adversarial Defense.
        attack: the attack in training, as text such as `"step_ll(epsilon=0.15, num_steps=2)"`;
            empty for `"none"`.
        replace_clean: whether adversarial training uses attacked images alone (Madry et al. 2018),
            without the original ones.
        weights: (alpha, beta, gamma), the weights of the three losses of `"aad"`, [AAD Eq. 9]. The
            classification loss L_c is low if images are classified correctly. The rectification
            loss L_r is minus the change of the predicted probabilities when the area of high
            attention is hidden. The preservation loss L_p is the distance between the attention
            maps of the clean and the attacked image.
        losses: preset of these losses. `"balanced"`, which trains on MNIST and CIFAR-10 alike:
            cross-entropy, mean squared change of probabilities, and sum of absolute differences of
            Grad-CAM maps that are scaled to sum 1. `"paper"`, the equations as printed, with means
            over examples in place of sums: soft margin loss, Euclidean norm of the change, maps not
            scaled. `"reference_code"`, what the authors' code does: as `"balanced"`, but maps are a
            softmax over cells, resized to the image; L_p sums squared differences, also over the
            batch; and the hidden area is where a map exceeds the mean of all maps of the batch.
        loss_parts: what replaces parts of the preset, by name, such as `{"rectification": "l2"}`.
            `classification`: L_c, `"cross_entropy"`, `"soft_margin"` or `"soft_margin_sum"` (mean
                or sum over classes).
            `rectification`, `preservation`: distance in L_r or L_p, `"l1"`, `"l2"`,
                `"squared_sum"`, `"squared_mean"` or `"absolute_mean"`.
            `maps`: `"grad_cam"`; `"softmax_grad_cam"`, with gradients divided by their root mean
                square over the batch, and a softmax over cells in place of the ReLU; or
                `"softmax_grad_cam_of_each"`, the same with the root mean square of each example.
            `normalized_maps`, `full_size_maps`: True scales maps to sum 1, or resizes them to the
                image, before L_p compares them.
            `preservation_over`: `"batch_mean"` or `"batch_sum"`, how L_p is reduced.
            `threshold`: the hidden area is where a map exceeds its mean, `"mean"`; the mean of all
                maps of the batch, `"batch_mean"`; or a number.
            `fill`: value of hidden pixels, a number or one per channel.
        fill: value of the pixels that L_r hides, as text, a number in [0, 1] such as `"0.5"`, which
            replaces that of `loss_parts`. Without either it is the pixel value that reaches the
            first weights of the network as zero.
        update_per_round: with `"aad"`, whether there is one optimizer update per round (iteration)
            of the attack.
        attention_noise: how dropout acts on the rectification and preservation losses of `"aad"`:
            `"independent"`, other masks for each version of an image; `"shared"`, the same masks
            for all versions; `"none"`, none, since these losses are computed in inference mode.
        warmup_steps: number of updates over which adversarial perturbations grow linearly to their
            full size; 0 for full size from the start.
        beta: weight in the loss of `"trades"` of the Kullback-Leibler divergence between the
            predictions for the clean and the attacked image, at least 0.
        pairing: two weights in the loss of `"pairing"`: of the pairs of logits, and of the pairs of
            attention maps.
        sources: model directories of trained networks, on which `"ensemble"` attacks images too;
            they must be trained on the same data set.

    Raises:
        TypeError: a number of another type.
        ValueError: an unknown name, a number out of range, text that is not a single attack, or an
            attribute that has no effect with this kind of defence.
    """

    kind: str = "none"
    attack: str = ""
    replace_clean: bool = False
    weights: tuple[float, ...] = (8.0, 4.0, 1.0)
    losses: str = "balanced"
    loss_parts: dict[str, Any] = field(default_factory=dict)
    fill: str = ""
    update_per_round: bool = False
    attention_noise: str = "independent"
    warmup_steps: int = 0
    beta: float = 6.0
    pairing: tuple[float, ...] = (0.5, 0.0)
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice(self.kind, DEFENSES, "defense.kind")
        check_count(self.warmup_steps, "defense.warmup_steps", least=0)
        check_weight(self.beta, "defense.beta")
        if len(self.pairing) != 2:
            raise ValueError(
                f"defense.pairing must be two weights, of logits and of attention maps, got "
                f"{self.pairing}."
            )
        for weight in self.pairing:
            check_weight(weight, "defense.pairing")
        check_choice(self.attention_noise, ATTENTION_NOISE, "defense.attention_noise")
        for name, (default, kind, what) in _OF_ONE_KIND.items():
            if self.kind != kind and getattr(self, name) != default:
                raise ValueError(
                    f"defense.{name} has no effect with defense.kind {self.kind!r}; only "
                    f"{kind!r} {what}."
                )
        if self.kind != "none":
            attack = as_attack(self.attack, Bounds())
            if isinstance(attack, AttackCascade):
                raise ValueError(
                    f"defense.attack must be a single attack, to run inside a training step, got "
                    f"the cascade {self.attack!r}. Evaluate with it instead."
                )
        _check_sources(self)
        for part in self.loss_parts:
            parts = [field.name for field in dataclasses.fields(AADLosses)]
            check_choice(part, parts, "part in defense.loss_parts")
        AADLosses().replace(**self.loss_parts)
        check_choice(self.losses, LOSS_PRESETS, "defense.losses")
        if self.fill and not 0.0 <= parse_number(self.fill) <= 1.0:
            raise ValueError(f"defense.fill must be in [0, 1], got {self.fill}.")

    @property
    def attention_losses(self) -> AADLosses:
        """The `AADLosses`, choices within the loss of `"aad"`, which `AADModel` is given.

        They are the preset that the attribute `losses` names, such as "balanced". Attributes that
        `loss_parts` names have the values given there. The value of hidden pixels is `fill`, if
        that is not empty.
        """
        losses = AADLosses.preset(self.losses).replace(**self.loss_parts)
        return losses.replace(fill=parse_number(self.fill)) if self.fill else losses


def _check_sources(defense: DefenseConfig) -> None:
    if defense.kind == "ensemble" and not defense.sources:
        raise ValueError(
            "defense.kind 'ensemble' needs defense.sources: model directories of trained networks."
        )
    if defense.kind != "ensemble" and defense.sources:
        raise ValueError(
            f"defense.sources has no effect with defense.kind {defense.kind!r}; only 'ensemble' "
            f"attacks other networks."
        )
