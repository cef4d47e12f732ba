"""Named attacks as small functions of one loop.

Attacks made of another one (`a3`, `aad_total`) are not here: `WRAPPERS` of `parsing` names them.
"""

from __future__ import annotations

from collections.abc import Callable

from aad_tf.attacks.auto_pgd import apgd
from aad_tf.attacks.cascade import Attack, auto_attack, quick_cascade
from aad_tf.attacks.draws import over_draws
from aad_tf.attacks.fab import fab
from aad_tf.attacks.gradient_sign import GradientSignAttack
from aad_tf.attacks.objectives import (
    AwayFromLabel,
    AwayFromPrediction,
    Objective,
    Target,
    TowardsClass,
    TowardsFirstLeastLikely,
    TowardsLeastLikely,
)
from aad_tf.attacks.square import square
from aad_tf.attacks.starts import GaussianNoise, UniformNoise
from aad_tf.utils.checks import check_count, check_epsilon


def fgsm(
    epsilon: float, label_smoothing: float = 0.0, *, target: Target = None
) -> GradientSignAttack:
    """Fast gradient sign method (Goodfellow et al. 2015), [Agrawal Eq. 1].

    Args:
        epsilon: l-inf size of the one step, in the unit of the images.
        label_smoothing: of the cross-entropy that is climbed.
        target: class that images are pushed towards, or one for each true class, as for
            `TowardsClass`; None for away from the true label.

    Raises:
        TypeError: a target that is no class number.
        ValueError: epsilon negative or not finite, or a class that is its own target.

    Example:
        >>> adversarial = fgsm(8 / 255)(classifier, images, labels)
    """
    check_epsilon(epsilon)
    objective = _towards(target, label_smoothing)
    return GradientSignAttack(objective, epsilon, 1, epsilon, name="fgsm")


def ifgsm(
    epsilon: float,
    num_steps: int = 3,
    step_size: float | None = None,
    *,
    target: Target = None,
) -> GradientSignAttack:
    """Iterative FGSM (Kurakin et al. 2017), kept within `epsilon`; [AAD Table 5] uses 3 rounds.

    Args:
        epsilon: l-inf budget, in the unit of the images.
        num_steps: rounds.
        step_size: size of a step; default `epsilon / num_steps`.
        target: as for `fgsm`.

    Raises:
        ValueError: a size negative or not finite, fewer than one step, or a target as for `fgsm`.
    """
    return _within_budget(_towards(target), epsilon, num_steps, step_size, "ifgsm")


def step_ll(
    epsilon: float, num_steps: int = 1, label_smoothing: float = 0.0, relabel: bool = True
) -> GradientSignAttack:
    """Step towards the least likely class, [AAD Eq. 3]; rounds accumulate, as in the paper.

    Args:
        epsilon: size of every step, in the unit of the images; n rounds reach n times as far.
        num_steps: rounds; the paper trains on two.
        label_smoothing: of the cross-entropy that is descended (the authors' code: 0.1).
        relabel: True goes towards the class that is least likely at the start of each round, as
            the authors' code does; False towards that of the original image in every round.

    Raises:
        ValueError: epsilon negative or not finite, or fewer than one step.
    """
    check_epsilon(epsilon)
    kind = TowardsLeastLikely if relabel else TowardsFirstLeastLikely
    return GradientSignAttack(kind(label_smoothing), epsilon, num_steps, None, name="step_ll")


def iter_ll(
    epsilon: float, num_steps: int = 3, step_size: float | None = None, relabel: bool = False
) -> GradientSignAttack:
    """Iterative least-likely attack within `epsilon`, [AAD Table 6].

    Kurakin et al. (2017) go towards the class that is least likely on the original image.

    Args:
        epsilon: l-inf budget, in the unit of the images.
        num_steps: rounds.
        step_size: size of a step; default `epsilon / num_steps`.
        relabel: choose the target again at the start of each round, as the AAD authors' StepLL
            does; a round may then undo the one before.

    Raises:
        ValueError: a size negative or not finite, or fewer than one step.
    """
    kind = TowardsLeastLikely if relabel else TowardsFirstLeastLikely
    return _within_budget(kind(), epsilon, num_steps, step_size, "iter_ll")


def _towards(target: Target, label_smoothing: float = 0.0) -> Objective:
    if target is None:
        return AwayFromLabel(label_smoothing)
    return TowardsClass(target, label_smoothing)


def _within_budget(
    objective: Objective, epsilon: float, num_steps: int, step_size: float | None, name: str
) -> GradientSignAttack:
    """Steps that reach `epsilon` together, unless a step size says otherwise."""
    check_epsilon(epsilon)
    check_count(num_steps, "num_steps")
    step_size = epsilon / num_steps if step_size is None else step_size
    return GradientSignAttack(objective, step_size, num_steps, epsilon, name=name)


def pgd(
    epsilon: float,
    step_size: float,
    num_steps: int,
    random_start: bool = True,
    restarts: int = 1,
    *,
    target: Target = None,
    num_draws: int = 1,
) -> GradientSignAttack:
    """Projected gradient descent (Madry et al. 2018), [Agrawal Eq. 2].

    Args:
        epsilon: l-inf budget, in the unit of the images.
        step_size: size of a step, in the same unit.
        num_steps: steps.
        random_start: start from a uniform point of the budget.
        restarts: independent starts; an example counts as misclassified if any of them ends so.
        target: as for `fgsm`.
        num_draws: as for `apgd`.

    Raises:
        ValueError: a size negative or not finite, a count under one, restarts without random start,
            or a target as for `fgsm`.

    Example:
        >>> towards_3 = pgd(8 / 255, step_size=2 / 255, num_steps=10, target=3)
        >>> towards_next = pgd(8 / 255, 2 / 255, 10, target=(1, 2, 3, 4, 5, 6, 7, 8, 9, 0))
    """
    check_epsilon(epsilon)
    objective = over_draws(_towards(target), num_draws)
    return GradientSignAttack(
        objective, step_size, num_steps, epsilon, random_start, restarts, name="pgd"
    )


def rs_fgsm(epsilon: float, step_size: float | None = None) -> GradientSignAttack:
    """FGSM from a uniform point of the budget, for training (Wong et al. 2020: Fast is better).

    One step, projected: `pgd(epsilon, step_size, num_steps=1)` under the name it is trained by.
    Networks trained so can end up robust against this one step alone (catastrophic overfitting):
    watch their accuracy under PGD.

    Args:
        epsilon: l-inf budget, in the unit of the images.
        step_size: size of the step; default `1.25 epsilon`, as the authors train.

    Raises:
        ValueError: a size negative or not finite.

    Example:
        >>> model = AdversarialModel(network, attack=rs_fgsm(0.3), replace_clean=True)
    """
    check_epsilon(epsilon)
    step_size = 1.25 * epsilon if step_size is None else step_size
    return GradientSignAttack(AwayFromLabel(), step_size, 1, epsilon, True, name="rs_fgsm")


def nfgsm(epsilon: float, start_radius: float | None = None) -> GradientSignAttack:
    """FGSM from a far noisy start, for training (de Jorge et al. 2022: N-FGSM).

    Starts from uniform noise in [-start_radius, start_radius] and takes one step of `epsilon`. The
    sum is kept within the pixel range but not projected: images move by as much as
    `start_radius + epsilon`, thrice `epsilon` by default. That is the budget in the attack's threat
    model, so an evaluation with it is one within 3 epsilon, not within epsilon. Train with it, and
    evaluate what it trains for with `pgd(epsilon, ...)` or stronger.

    Args:
        epsilon: size of the step, in the unit of the images: the budget to become robust within.
        start_radius: largest noise per pixel; default `2 epsilon`, as the authors train.

    Raises:
        ValueError: a size negative or not finite.

    Example:
        >>> model = AdversarialModel(network, attack=nfgsm(8 / 255), replace_clean=True)
        >>> nfgsm(0.1).total_epsilon
        0.30000000000000004
    """
    check_epsilon(epsilon)
    noise = UniformNoise(2.0 * epsilon if start_radius is None else start_radius)
    return GradientSignAttack(
        AwayFromLabel(), epsilon, random_start=True, name="nfgsm", noise=noise
    )


def trades_pgd(
    epsilon: float, step_size: float, num_steps: int, deviation: float = 0.001
) -> GradientSignAttack:
    """The attack inside TRADES (Zhang et al. 2019), which climbs KL(p(x) || p(x')) without labels.

    Starts from normal noise, cut off at the pixel range (the authors leave that to the first step);
    then steps of projected gradient descent. Their schedules are `trades_pgd(0.3, 0.01, 40)` on
    MNIST and `trades_pgd(0.031, 0.007, 10)` on CIFAR-10.

    Args:
        epsilon: l-inf budget, in the unit of the images.
        step_size: size of a step, in the same unit.
        num_steps: steps.
        deviation: standard deviation of the noise, in the same unit; the authors' is for images in
            [0, 1].

    Raises:
        ValueError: a size negative or not finite, or fewer than one step.

    Example:
        >>> model = TradesModel(network, attack=trades_pgd(8 / 255, 2 / 255, num_steps=10))
    """
    check_epsilon(epsilon)
    return GradientSignAttack(
        AwayFromPrediction(),
        step_size,
        num_steps,
        epsilon,
        random_start=True,
        name="trades_pgd",
        noise=GaussianNoise(deviation),
    )


PRESETS: dict[str, Callable[..., Attack]] = {
    "apgd": apgd,
    "auto_attack": auto_attack,
    "quick_cascade": quick_cascade,
    "fab": fab,
    "square": square,
    "fgsm": fgsm,
    "ifgsm": ifgsm,
    "step_ll": step_ll,
    "iter_ll": iter_ll,
    "pgd": pgd,
    "rs_fgsm": rs_fgsm,
    "nfgsm": nfgsm,
    "trades_pgd": trades_pgd,
}
