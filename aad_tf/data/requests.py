"""Requests for examples of a data set: which part of a split, in which batches and size."""

from __future__ import annotations

from dataclasses import dataclass

from aad_tf.data.sharding.slices import WHOLE, ReplicaRange
from aad_tf.utils.checks import check_count
from aad_tf.utils.files import PathLike

# (height, width) of the images given; None leaves them at the data's own size.
Sides = tuple[int, int] | None


@dataclass(frozen=True)
class BoxedRequest:
    """A request for examples with boxes, made by `aad_tf.data.boxed_batches`.

    Attributes:
        split: "train", "validation" or "test".
        start: index of the first example in the split.
        stop: index after the last example; None for the end of the split.
        size: (height, width) that images of "imagenet2012" are cropped and resized to; None for
            299 x 299. Images of other data sets are resized later and ignore it.
        annotations: archive of the boxes of "imagenet2012"; else None.
    """

    split: str
    start: int = 0
    stop: int | None = None
    size: Sides = None
    annotations: PathLike | None = None

    def span(self, num_examples: int) -> tuple[int, int]:
        """Returns the range of examples that the request asks for within a split of known size.

        Args:
            num_examples: number of examples of the split.

        Returns:
            Index of the first example and index after the last, at most `num_examples`; they are
            equal if the range is empty.

        Raises:
            TypeError: `start` or `stop` is not an integer.
            ValueError: a negative start, a stop before the start, or a start beyond the split.
        """
        check_count(self.start, "start", 0)
        if self.stop is not None:
            check_count(self.stop, "stop", self.start)
        if self.start > num_examples:
            raise ValueError(f"start is {self.start}, but the split has {num_examples} examples.")
        return self.start, num_examples if self.stop is None else min(self.stop, num_examples)


@dataclass(frozen=True)
class EvaluationRequest:
    """A request for each example of a split once, made by `aad_tf.data.evaluation_batches`.

    Attributes:
        split: "train", "validation" or "test".
        batch_size: examples per batch of all replicas together.
        limit: index after the last example to use; None for all.
        size: (height, width) that images are resized to; None for the size of the data.
        replica_range: the replicas that the batches are for.
        start: index of the first example to use.
    """

    split: str
    batch_size: int
    limit: int | None = None
    size: Sides = None
    replica_range: ReplicaRange = WHOLE
    start: int = 0

    def span(self, num_examples: int) -> tuple[int, int]:
        """Returns the range of examples that the request asks for within a split of known size.

        Args:
            num_examples: number of examples of the split.

        Returns:
            Index of the first example, and index after the last: the smaller one of `limit` and
            `num_examples`.

        Raises:
            ValueError: the range is empty.
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
    """A request for training batches, made by `aad_tf.data.training_batches`.

    Attributes:
        batch_size: examples per batch of all replicas together.
        seed: seed of the order and of the augmentation.
        start_epoch: number of the first epoch, from 0.
        start_step: number of batches to leave out from that epoch on.
        augmentation: `"none"`; `"flip"`, mirrored with probability 1/2; `"shift_flip"`, also moved;
            `"crop_flip"`, mirrored and cropped to at least half of the area; or `"inception"`,
            mirrored and cropped to at least 8% of it, with brightness and saturation changed.
        size: (height, width) that images are resized to; None for the size of the data.
        replica_range: the replicas that the batches are for.
        limit: number of examples of the split to use, the first ones; None for all.
    """

    batch_size: int
    seed: int
    start_epoch: int = 0
    start_step: int = 0
    augmentation: str = "none"
    size: Sides = None
    replica_range: ReplicaRange = WHOLE
    limit: int | None = None

    def first_step(self, steps: int) -> tuple[int, int]:
        """Returns the epoch and the step within it at which training starts.

        Args:
            steps: number of batches of an epoch. A `start_step` of that many batches or more leads
                to a later epoch.

        Returns:
            The number of the epoch, and the number of the batch in that epoch, both from 0.
        """
        return self.start_epoch + self.start_step // steps, self.start_step % steps
