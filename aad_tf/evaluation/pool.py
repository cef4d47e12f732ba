"""A batch of active examples under attack; misclassified ones are replaced from a queue.

Attacks waste most of their time on images that were misclassified long ago. The pool keeps a
fixed number of slots busy with images that are still classified correctly, each at an iteration
and a restart of its own. The iterations, starts and rule of restarts are those of
`aad_tf.attacks.loop`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from aad_tf.attacks import GradientSignAttack
from aad_tf.attacks.loop import Examples, starts_again
from aad_tf.classifier import Classifier
from aad_tf.records import make_record
from aad_tf.utils.ops import linf_distance

# Where more than this fraction of the slots only await classification, a forward pass of those
# alone is cheaper than the next iteration, whose backward pass they do not need.
_FORWARD_ONLY_FRACTION = 1 / 2

_SLOT = np.dtype([("index", "i8"), ("label", "i4"), ("restart", "i4"), ("step", "i4")])


class Block(NamedTuple):
    """Examples that wait for a slot.

    Attributes:
        images: `[batch, H, W, C]`, original.
        slots: what else a slot holds of each.
        context: what the objective needs of the original images; None if not computed yet.
    """

    images: np.ndarray
    slots: np.ndarray
    context: tuple[np.ndarray, ...] | None = None

    def split(self, count: int) -> tuple[Block, Block]:
        """The first `count` examples, and the rest."""
        return self._part(slice(count)), self._part(slice(count, None))

    def _part(self, part: slice) -> Block:
        context = None if self.context is None else tuple(each[part] for each in self.context)
        return Block(self.images[part], self.slots[part], context)


class AttackPool:
    """One attack running over a stream of correctly classified examples.

    Args:
        classifier: the network under attack.
        attack: what is run.
        size: number of slots, at least 1.
        seed: of the random starts.
        any_iterate: classify the images after every iteration (and at a random start), not only
            after the last one.

    Example:
        >>> pool.add(images, labels, indices)
        >>> records = [record for batch in pool.run(drain=True) for record in batch]
    """

    def __init__(
        self,
        classifier: Classifier,
        attack: GradientSignAttack,
        size: int,
        *,
        seed: int,
        any_iterate: bool,
    ) -> None:
        self.attack = attack
        self._classifier = classifier
        self._size = size
        self._seed = seed
        self._any_iterate = any_iterate
        self._iterate = attack.compiled_iteration(classifier)
        self._context = attack.compiled_context(classifier)
        self._waiting: deque[Block] = deque()
        self._slots = np.empty(0, _SLOT)
        # Examples and State, one entry per slot; None as long as no slot is taken.
        self._active: Any = None

    def add(self, images: np.ndarray, labels: np.ndarray, indices: np.ndarray) -> None:
        """Queues examples.

        Args:
            images: `[batch, H, W, C]` in the classifier's dtype.
            labels: int `[batch]`, true labels, which the classifier predicts.
            indices: int `[batch]`, indices in the data set; they seed the random starts.
        """
        slots = np.zeros(len(labels), _SLOT)
        slots["index"], slots["label"] = indices, labels
        if len(slots):
            self._waiting.append(Block(images, slots))

    def run(self, *, drain: bool = False) -> Iterator[list[dict[str, Any]]]:
        """Works while every slot is taken; with `drain`, until no example is left.

        Yields:
            Records of the examples that left, possibly none, after each call of the network.
        """
        while True:
            self._refill()
            if len(self._slots) == 0 or (len(self._slots) < self._size and not drain):
                return
            yield self._advance()

    def _refill(self) -> None:
        taken = []
        free = self._size - len(self._slots)
        while free and self._waiting:
            block, rest = self._with_context(self._waiting.popleft()).split(free)
            taken.append(block)
            free -= len(block.slots)
            if len(rest.slots):
                self._waiting.appendleft(rest)
        if not taken:
            return
        slots = np.concatenate([block.slots for block in taken])
        contexts = zip(*(block.context or () for block in taken), strict=True)
        examples = Examples(
            tf.constant(np.concatenate([block.images for block in taken])),
            tf.constant(slots["label"]),
            tuple(tf.constant(np.concatenate(each)) for each in contexts),
        )
        state = self.attack.begin(
            self._classifier, examples, self._seed, slots["index"], slots["restart"]
        )
        joined = (examples, state)
        if len(self._slots):
            joined = tf.nest.map_structure(
                lambda *pair: tf.concat(pair, axis=0), self._active, joined
            )
            slots = np.concatenate([self._slots, slots])
        self._active, self._slots = joined, slots

    def _with_context(self, block: Block) -> Block:
        """The whole block at once: few calls of the network, each over many images."""
        if block.context is not None:
            return block
        context = self._context(block.images, tf.constant(block.slots["label"]))
        return block._replace(context=tuple(each.numpy() for each in context))

    def _advance(self) -> list[dict[str, Any]]:
        """One call of the network; finished slots are freed, for a record or for a restart."""
        examples, state = self._active
        finished = self._slots["step"] == self.attack.num_steps
        following = state
        if finished.sum() > _FORWARD_ONLY_FRACTION * len(finished):
            classified = np.flatnonzero(finished)
            logits = self._classifier.predict_logits(_take(state.images, classified))
        else:
            following, logits = self._iterate(state, examples)
            classified = np.flatnonzero(self._classified_by_iteration(finished))
            logits = _take(logits, classified)
        hint = f" under attack {self.attack.name!r}. Try float32, or look for what overflows."
        predictions = predicted_classes(logits, self._slots["index"][classified], hint)
        misclassified = predictions != self._slots["label"][classified]
        leaving = misclassified | finished[classified]
        rows = classified[leaving]
        records = self._settle(rows, predictions[leaving], misclassified[leaving])
        if following is not state:
            self._slots["step"] += 1
        self._active = (examples, following)
        if len(rows):
            kept = np.delete(np.arange(len(self._slots)), rows)
            self._active, self._slots = _rows(self._active, kept), self._slots[kept]
        return records

    def _classified_by_iteration(self, finished: np.ndarray) -> np.ndarray:
        if not self._any_iterate:
            return finished
        # Without a random start the attack begins at the original image, known to be correct.
        return finished | (self._slots["step"] > 0) | self.attack.random_start

    def _settle(
        self, rows: np.ndarray, predictions: np.ndarray, misclassified: np.ndarray
    ) -> list[dict[str, Any]]:
        """Records of slots that are left, but for examples that start again: those queue."""
        if not len(rows):
            return []
        slots = self._slots[rows]
        again = starts_again(misclassified, slots["restart"], self.attack.restarts)
        if again.any():
            retried = slots[again]
            retried["restart"] += 1
            retried["step"] = 0
            origin, _, context = tf.nest.map_structure(
                lambda each: each.numpy(), _rows(self._active[0], rows[again])
            )
            self._waiting.appendleft(Block(origin, retried, context))
        examples, state = _rows(self._active, rows)
        distances = linf_distance(state.images, examples.images).numpy()
        return [
            make_record(
                self.attack.name,
                index=int(slots["index"][i]),
                label=int(slots["label"][i]),
                clean_prediction=int(slots["label"][i]),
                adversarial_prediction=int(predictions[i]),
                steps=int(slots["step"][i]),
                restart=int(slots["restart"][i]),
                linf=float(distances[i]),
            )
            for i in np.flatnonzero(~again)
        ]


def predicted_classes(logits: tf.Tensor, indices: np.ndarray, hint: str) -> np.ndarray:
    """Class of each example, int `[batch]`; ValueError with the hint if logits are not finite."""
    values = tf.cast(logits, tf.float32).numpy()
    finite = np.isfinite(values).all(axis=-1)
    if not finite.all():
        index = indices[~finite][0]
        raise ValueError(f"The network's logits are NaN or infinite on example {index}{hint}")
    return values.argmax(axis=-1)


def _rows(structure: Any, positions: np.ndarray) -> Any:
    return tf.nest.map_structure(lambda tensor: _take(tensor, positions), structure)


def _take(tensor: tf.Tensor, positions: np.ndarray) -> tf.Tensor:
    """Rows of a tensor; the positions are in order and differ, so all of them are the tensor."""
    return tensor if len(positions) == len(tensor) else tf.gather(tensor, positions)
