"""What is trained while scaling is measured, and how long."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from aad_tf.configs import DefenseConfig, ExperimentConfig
from train.configs import imagenet2012, tiny_imagenet_boxes

_MEGABYTE = 2**20
_CLASSES = 40
# Images are noise, so nothing can be learned and a training run's rate may end in infinities.
_LEARNING_RATE = 1e-4


@dataclass(frozen=True)
class Case:
    """A network and its defence.

    Attributes:
        title: one line.
        config: network, defence and optimizer; its data set is replaced by random images.
        image_shape: (height, width, channels).
        num_classes: number of classes.
        batch_size: examples a step on each worker.
    """

    title: str
    config: ExperimentConfig
    image_shape: tuple[int, int, int]
    num_classes: int
    batch_size: int

    def __post_init__(self) -> None:
        config = dataclasses.replace(self.config, learning_rate=_LEARNING_RATE)
        object.__setattr__(self, "config", config)


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        cases: what is trained, by name.
        repetitions: rounds in which one worker, two together and two apart take turns.
        turn_seconds: so long about is a turn.
        least_steps: of a turn, at least.
        message_bytes: sizes of all-reduces that the model is fitted to.
        message_rounds: rounds through these sizes.
        cable_gigabits: rates of the cable between two hosts that the model is checked on.
        cable_bytes: sent at each rate, to see that it is what it should be.
        cable_case: the case that is trained there.
        paper: the case that is extended to many workers; its batch size is that of the paper.
        paper_batches: batch sizes whose steps are measured to extrapolate to it.
        answer_seconds: so long may a worker be silent.
    """

    cases: dict[str, Case]
    repetitions: int
    turn_seconds: float
    least_steps: int
    message_bytes: tuple[int, ...]
    message_rounds: int
    cable_gigabits: tuple[float, ...]
    cable_bytes: int
    cable_case: str
    paper: Case
    paper_batches: tuple[int, ...]
    answer_seconds: float


_AAD_SMALL = DefenseConfig("aad", "step_ll(epsilon=4/255, num_steps=2)")
INCEPTION_AAD = Case(
    "InceptionV3, AAD, as preset imagenet2012:small",
    imagenet2012.SMALL,
    (107, 107, 3),
    _CLASSES,
    8,
)
INCEPTION_AAD_16 = Case(
    "InceptionV3, AAD, as preset imagenet2012:small with twice the batch",
    imagenet2012.SMALL,
    (107, 107, 3),
    _CLASSES,
    16,
)
SMALL_AAD = Case(
    "inception_small, AAD, on the shape of tiny_imagenet_boxes",
    dataclasses.replace(tiny_imagenet_boxes.CLEAN, defense=_AAD_SMALL),
    (64, 64, 3),
    _CLASSES,
    32,
)
PAPER = Case(
    "InceptionV3, AAD, as preset imagenet2012:aad_step_ll",
    dataclasses.replace(imagenet2012.AAD, model_options={"dropout_rate": 0.2}),
    (299, 299, 3),
    1000,
    32,
)
LENET = Case(
    "LeNet, AAD, on the shape of digits",
    ExperimentConfig(defense=DefenseConfig("aad", "step_ll(epsilon=0.15, num_steps=2)")),
    (28, 28, 1),
    10,
    8,
)

SIZES = {
    # Shows that everything runs; its numbers mean nothing.
    "small": Size(
        cases={"lenet_aad": LENET},
        repetitions=2,
        turn_seconds=0.1,
        least_steps=2,
        message_bytes=(4, 2**14, _MEGABYTE),
        message_rounds=2,
        cable_gigabits=(0.1, 1.0),
        cable_bytes=1_000_000,
        cable_case="lenet_aad",
        paper=dataclasses.replace(LENET, batch_size=32),
        paper_batches=(2, 4),
        answer_seconds=60.0,
    ),
    "full": Size(
        cases={
            "inception_v3_aad": INCEPTION_AAD,
            "inception_v3_aad_16": INCEPTION_AAD_16,
            "inception_small_aad": SMALL_AAD,
        },
        repetitions=3,
        turn_seconds=5.0,
        least_steps=3,
        message_bytes=(4, 2**12, 2**16, 2**18, *(count * _MEGABYTE for count in (1, 4, 8))),
        message_rounds=5,
        cable_gigabits=(0.5, 1.0, 2.5),
        cable_bytes=100_000_000,
        cable_case="inception_v3_aad",
        paper=PAPER,
        paper_batches=(1, 2, 4),
        answer_seconds=400.0,
    ),
}
