"""What a stream is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from aad_tf.data.sharding.slices import WHOLE, ReplicaSlice
from aad_tf.utils.checks import check_count
from aad_tf.utils.files import PathLike

# (height, width) of the images given; None leaves them at the data's own size.
Sides = tuple[int, int] | None


@dataclass(frozen=True)
class BoxedRequest:
    """Which part of a split is wanted with boxes; see `aad_tf.data.boxed_batches`.

    Attributes:
        split: "train", "validation" or "test".
        start: index of the first example.
        stop: index after the last example; None is the end.
        size: sides that the images will be resized to, for a source that crops them first.
        annotations: the box archive of "imagenet2012".
    """

    split: str
    start: int = 0
    stop: int | None = None
    size: Sides = None
    annotations: PathLike | None = None

    def span(self, num_examples: int) -> tuple[int, int]:
        """Returns [start, stop) within a split of so many examples.

        Raises:
            TypeError, ValueError: not integers, reversed, or a start beyond the split.
        """
        check_count(self.start, "start", 0)
        if self.stop is not None:
            check_count(self.stop, "stop", self.start)
        if self.start > num_examples:
            raise ValueError(f"start is {self.start}, but the split has {num_examples} examples.")
        return self.start, num_examples if self.stop is None else min(self.stop, num_examples)


@dataclass(frozen=True)
class EvaluationRequest:
    """How a split is to be given once; see `aad_tf.data.evaluation_batches`.

    Attributes:
        split: "train", "validation" or "test".
        batch_size: examples per batch of all replicas.
        limit: use only so many examples; None is all.
        size: sides of the images.
        replica_slice: the replicas fed.
        start: index of the first example that is given.
    """

    split: str
    batch_size: int
    limit: int | None = None
    size: Sides = None
    replica_slice: ReplicaSlice = WHOLE
    start: int = 0

    def span(self, num_examples: int) -> tuple[int, int]:
        """Returns [start, stop), the indices of the examples given of a split.

        Args:
            num_examples: examples of the split.

        Raises:
            ValueError: nothing is left.
        """
        stop = min(num_examples, self.limit or num_examples)
        if self.start >= stop:
            raise ValueError(
                f"start is {self.start}, but there are {stop} examples, the first of which has "
                f"index 0: nothing would be left."
            )
        return self.start, stop


@dataclass(frozen=True)
class TrainingRequest:
    """How to train; see `aad_tf.data.training_batches`.

    Attributes:
        batch_size: examples per batch of all replicas.
        seed: of orders and augmentation.
        start_epoch: first epoch.
        start_step: batches left out.
        augmentation: one of `aad_tf.data.AUGMENTATIONS`.
        size: sides of the images.
        replica_slice: the replicas fed.
        limit: use only so many examples; None is all.
    """

    batch_size: int
    seed: int
    start_epoch: int = 0
    start_step: int = 0
    augmentation: str = "none"
    size: Sides = None
    replica_slice: ReplicaSlice = WHOLE
    limit: int | None = None

    def first_step(self, steps: int) -> tuple[int, int]:
        """Returns the epoch and the step that a resumed stream begins at.

        Args:
            steps: batches of an epoch; `start_step` beyond them moves on to later epochs.
        """
        return self.start_epoch + self.start_step // steps, self.start_step % steps
