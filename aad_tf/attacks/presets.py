"""Functions that build the attacks of the literature: FGSM, IFGSM, StepLL, PGD and others.

`PRESETS` holds them by name, together with those of other modules. Functions that take another
attack as their argument, `a3` and `aad_total`, are in `WRAPPERS` of `aad_tf.attacks.parsing`.
"""

from __future__ import annotations

from collections.abc import Callable

from aad_tf.attacks.auto_pgd import LOSSES, apgd, objective_of
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
from aad_tf.utils.checks import check_choice, check_count, check_epsilon


def fgsm(
    epsilon: float,
    label_smoothing: float = 0.0,
    *,
    target: Target = None,
    norm: str = "linf",
) -> GradientSignAttack:
    """Fast gradient sign method (Goodfellow et al. 2015), [Agrawal Eq. 1].

    In l2 it is the fast gradient method: a step along the gradient divided by its l2-norm.

    Args:
        epsilon: size of the one step in the norm, in the unit of the images.
        label_smoothing: part of the label's probability that is spread evenly over all classes in
            the cross-entropy, in [0, 1]; 0 for none.
        target: None for an untargeted attack, which raises the cross-entropy of the true label.
            Else the class whose cross-entropy is lowered: one number for all images, or a tuple
            with one target per true class.
        norm: `"linf"` or `"l2"`.

    Returns:
        The attack, to be called with a classifier, images and labels.

    Raises:
        TypeError: an epsilon or `label_smoothing` that is not a number, or a target that is not a
            class number.
        ValueError: epsilon negative or not finite, `label_smoothing` outside of [0, 1], a class
            that is its own target, or an unknown norm.

    Example:
        >>> adversarial = fgsm(8 / 255)(classifier, images, labels)
        >>> in_l2 = fgsm(0.5, norm="l2")(classifier, images, labels)
    """
    check_epsilon(epsilon)
    objective = _towards(target, label_smoothing)
    return GradientSignAttack(objective, epsilon, 1, epsilon, name="fgsm", norm=norm)


def ifgsm(
    epsilon: float,
    num_steps: int = 3,
    step_size: float | None = None,
    *,
    target: Target = None,
    norm: str = "linf",
) -> GradientSignAttack:
    """Iterative FGSM (Kurakin et al. 2017), kept within `epsilon`; [AAD Table 5] uses 3 rounds.

    In l2 its steps are along the gradient divided by its l2-norm.

    Args:
        epsilon: budget in the norm, in the unit of the images.
        num_steps: number of iterations (rounds).
        step_size: size of a step, in the unit of the images; None for `epsilon / num_steps`.
        target: None for an untargeted attack, which raises the cross-entropy of the true label.
            Else the class whose cross-entropy is lowered: one number for all images, or a tuple
            with one target per true class.
        norm: `"linf"` or `"l2"`.

    Returns:
        The attack, to be called with a classifier, images and labels.

    Raises:
        TypeError: a size that is not a number, a count or a target that is not an integer.
        ValueError: a size negative or not finite, fewer than one step, a class that is its own
            target, or an unknown norm.

    Example:
        >>> adversarial = ifgsm(8 / 255, num_steps=3)(classifier, images, labels)
    """
    return _within_budget(_towards(target), epsilon, num_steps, step_size, "ifgsm", norm)


def step_ll(
    epsilon: float, num_steps: int = 1, label_smoothing: float = 0.0, relabel: bool = True
) -> GradientSignAttack:
    """Signed gradient steps that lower the cross-entropy of the least likely class, [AAD Eq. 3].

    There is no projection: perturbations of several rounds add up, as in the paper.

    Args:
        epsilon: size of every step, in the unit of the images; after n rounds a pixel may have
            changed by n times as much.
        num_steps: number of iterations (rounds); the paper trains on two.
        label_smoothing: part of the class's probability that is spread evenly over all classes in
            the cross-entropy, in [0, 1]; 0.1 in the authors' code.
        relabel: whether the least likely class is chosen anew at the start of each round, as in the
            authors' code; False for that of the original image in every round.

    Returns:
        The attack, to be called with a classifier, images and labels.

    Raises:
        TypeError: an epsilon or `label_smoothing` that is not a number, or a count that is not an
            integer.
        ValueError: epsilon negative or not finite, `label_smoothing` outside of [0, 1], or fewer
            than one step.

    Example:
        >>> adversarial = step_ll(4 / 255, num_steps=2)(classifier, images, labels)
    """
    check_epsilon(epsilon)
    kind = TowardsLeastLikely if relabel else TowardsFirstLeastLikely
    return GradientSignAttack(kind(label_smoothing), epsilon, num_steps, None, name="step_ll")


def iter_ll(
    epsilon: float, num_steps: int = 3, step_size: float | None = None, relabel: bool = False
) -> GradientSignAttack:
    """Iterative least-likely attack (Kurakin et al. 2017), kept within `epsilon`.

    It is one reading of Iter-LL in [AAD Table 6], which does not define it. It lowers the
    cross-entropy of the class with the lowest logit for the original image.

    Args:
        epsilon: l-inf budget, in the unit of the images.
        num_steps: number of iterations (rounds).
        step_size: size of a step, in the unit of the images; None for `epsilon / num_steps`.
        relabel: True chooses the least likely class anew at the start of each round, for the
            current image; a round may then undo the one before. False keeps that of the original
            image.

    Returns:
        The attack, to be called with a classifier, images and labels.

    Raises:
        TypeError: a size that is not a number, or a count that is not an integer.
        ValueError: a size negative or not finite, or fewer than one step.

    Example:
        >>> adversarial = iter_ll(4 / 255, num_steps=3)(classifier, images, labels)
    """
    kind = TowardsLeastLikely if relabel else TowardsFirstLeastLikely
    return _within_budget(kind(), epsilon, num_steps, step_size, "iter_ll")


def _towards(target: Target, label_smoothing: float = 0.0) -> Objective:
    if target is None:
        return AwayFromLabel(label_smoothing)
    return TowardsClass(target, label_smoothing)


def _within_budget(
    objective: Objective,
    epsilon: float,
    num_steps: int,
    step_size: float | None,
    name: str,
    norm: str = "linf",
) -> GradientSignAttack:
    """Steps that reach `epsilon` together, unless a step size says otherwise."""
    check_epsilon(epsilon)
    check_count(num_steps, "num_steps")
    step_size = epsilon / num_steps if step_size is None else step_size
    return GradientSignAttack(objective, step_size, num_steps, epsilon, name=name, norm=norm)


def pgd(
    epsilon: float,
    step_size: float,
    num_steps: int,
    random_start: bool = True,
    restarts: int = 1,
    *,
    target: Target = None,
    num_draws: int = 1,
    loss: str = "cross_entropy",
    norm: str = "linf",
) -> GradientSignAttack:
    """Projected gradient descent (Madry et al. 2018), [Agrawal Eq. 2].

    In l2 each step is along the gradient divided by its l2-norm; an image whose gradient is zero
    stays where it is. After each step the image is projected onto the ball around the original one
    and clipped to the pixel range, which leaves it within the ball.

    Args:
        epsilon: budget in the norm, in the unit of the images.
        step_size: size of a step, in the same unit.
        num_steps: number of iterations per restart.
        random_start: whether to start from a point drawn uniformly from the ball of radius
            `epsilon` around the image, and clipped to the pixel range, instead of the image.
        restarts: number of runs with different random starts. For each example the result of the
            first run that succeeds is kept (the image is misclassified, or predicted as the
            target), else that of the last run.
        target: None for an untargeted attack, which raises the cross-entropy of the true label.
            Else the class whose cross-entropy is lowered: one number for all images, or a tuple
            with one target per true class.
        num_draws: number of passes of the network over which loss and gradient of each step are
            averaged, for networks with random layers (expectation over transformation). An image
            is then misclassified if another class than the label has the largest mean logit.
        loss: what the steps raise: `"cross_entropy"` of the true label; `"margin"`, the largest
            other logit minus the label's (Carlini and Wagner 2017); `"dlr"`, the difference of
            logits ratio (Croce and Hein 2020); or `"kl"`, the divergence of the softmax from that
            of the original image (Zhang et al. 2019), which does not use the label. The gradient of
            the last is zero at the original image, so it needs a random start.
        norm: `"linf"` or `"l2"`.

    Returns:
        The attack, to be called with a classifier, images and labels.

    Raises:
        TypeError: a size that is not a number, a count or a target that is not an integer.
        ValueError: a size negative or not finite, a count below 1, several restarts or
            `loss="kl"` without a random start, an unknown loss or norm, a target with another loss
            than the cross-entropy, or a class that is its own target.

    Example:
        >>> in_l2 = pgd(0.5, step_size=0.1, num_steps=20, norm="l2")
        >>> towards_3 = pgd(8 / 255, step_size=2 / 255, num_steps=10, target=3)
        >>> towards_next = pgd(8 / 255, 2 / 255, 10, target=(1, 2, 3, 4, 5, 6, 7, 8, 9, 0))
    """
    check_epsilon(epsilon)
    losses = [name for name in LOSSES if name != "targeted_dlr"]
    objective = over_draws(objective_of(check_choice(loss, losses, "loss"), target), num_draws)
    if loss == "kl" and not random_start:
        raise ValueError("loss='kl' has no gradient at the original image: take random_start=True.")
    return GradientSignAttack(
        objective,
        step_size,
        num_steps,
        epsilon,
        random_start,
        restarts,
        name="pgd",
        norm=norm,
    )


def rs_fgsm(epsilon: float, step_size: float | None = None) -> GradientSignAttack:
    """FGSM with a random start, for adversarial training (Wong et al. 2020: Fast is better).

    It starts at a point drawn uniformly from the l-inf ball of radius `epsilon` around the image
    and takes one step along the sign of the gradient of the true label's cross-entropy. The result
    is projected onto the ball and clipped to the pixel range. A network that is trained with it may
    become robust against this one step alone (catastrophic overfitting), so watch its accuracy
    under PGD.

    Args:
        epsilon: l-inf budget, in the unit of the images.
        step_size: size of the step, in the unit of the images; None for `1.25 * epsilon`, as in the
            authors' training.

    Returns:
        The attack, to be called with a classifier, images and labels.

    Raises:
        TypeError: a size that is not a number.
        ValueError: a size negative or not finite.

    Example:
        Training on attacked images alone, without the clean ones:

        >>> model = AdversarialModel(network, attack=rs_fgsm(0.3), replace_clean=True)
    """
    check_epsilon(epsilon)
    step_size = 1.25 * epsilon if step_size is None else step_size
    return GradientSignAttack(AwayFromLabel(), step_size, 1, epsilon, True, name="rs_fgsm")


def nfgsm(epsilon: float, start_radius: float | None = None) -> GradientSignAttack:
    """FGSM from a noisy start beyond the budget, for training (de Jorge et al. 2022: N-FGSM).

    It adds uniform noise in [-start_radius, start_radius] to the image and takes one step of size
    `epsilon`. The result is clipped to the pixel range but not projected onto a budget: pixels
    change by up to `start_radius + epsilon`, which is `3 * epsilon` by default. An evaluation with
    this attack is one with that budget. To evaluate a network trained with it at the budget
    `epsilon`, use `pgd(epsilon, ...)` or a stronger attack.

    Args:
        epsilon: size of the step, in the unit of the images; the budget that training is meant for.
        start_radius: largest absolute noise per pixel, in the unit of the images; None for
            `2 * epsilon`, as in the authors' training.

    Returns:
        The attack, to be called with a classifier, images and labels.

    Raises:
        TypeError: a size that is not a number.
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
    """The attack inside TRADES (Zhang et al. 2019): PGD that raises KL(p(x) || p(x')).

    Here p is the softmax output, x the original and x' the attacked image; labels are not used. It
    starts from the image plus normal noise, clipped to the pixel range (the authors clip it with
    the first step). The authors use `trades_pgd(0.3, 0.01, 40)` on MNIST and
    `trades_pgd(0.031, 0.007, 10)` on CIFAR-10.

    Args:
        epsilon: l-inf budget, in the unit of the images.
        step_size: size of a step, in the same unit.
        num_steps: number of iterations.
        deviation: standard deviation of the noise, in the same unit; the default is the authors'
            value for images in [0, 1].

    Returns:
        The attack, to be called with a classifier, images and labels.

    Raises:
        TypeError: a size that is not a number, or a count that is not an integer.
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
