"""What a stream is asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass

from aad_tf.data.sharding.sharing import WHOLE, ReplicaShare

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class EvaluationRequest:
    """How a split is to be given once; see `aad_tf.data.evaluation_batches`.

    Attributes:
        split: "train", "validation" or "test".
        batch_size: examples a batch of all replicas.
        limit: use only so many examples; None is all.
        image_size: side of the images; 0 is the data's own.
        share: the replicas fed.
        start: the first of these examples that is given.
    """

    split: str
    batch_size: int
    limit: int | None = None
    image_size: int = 0
    share: ReplicaShare = WHOLE
    start: int = 0

    def span(self, num_examples: int) -> tuple[int, int]:
        """Returns [start, stop), the places of the examples given of a split.

        Args:
            num_examples: examples of the split.

        Raises:
            ValueError: nothing is left.
        """
        stop = min(num_examples, self.limit or num_examples)
        if self.start >= stop:
            raise ValueError(
                f"start is {self.start}, but there are {stop} examples, the first of which has "
                f"place 0: nothing would be left."
            )
        return self.start, stop


@dataclass(frozen=True)
class TrainingRequest:
    """How to train; see `aad_tf.data.training_batches`.

    Attributes:
        batch_size: examples a batch of all replicas.
        seed: of orders and augmentation.
        start_epoch: first epoch.
        start_step: batches left out.
        augmentation: one of `aad_tf.data.AUGMENTATIONS`.
        image_size: side of the images; 0 is the data's own.
        share: the replicas fed.
        limit: use only so many examples; None is all.
    """

    batch_size: int
    seed: int
    start_epoch: int = 0
    start_step: int = 0
    augmentation: str = "none"
    image_size: int = 0
    share: ReplicaShare = WHOLE
    limit: int | None = None

    def first_step(self, steps: int) -> tuple[int, int]:
        """Returns the epoch and the step to begin at, given the steps of an epoch."""
        return self.start_epoch + self.start_step // steps, self.start_step % steps
