"""A pool of images under attack: who is fooled leaves, who waits moves in.

Attacks waste most of their time on images that were misclassified long ago. The pool keeps a
fixed number of slots busy with images that still hold out, each at its own step and restart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from aad_tf.attacks import GradientSignAttack
from aad_tf.attacks.steps import compiled_context, compiled_step
from aad_tf.classifier import Classifier
from aad_tf.evaluation.noise import unit_noise
from aad_tf.evaluation.tally import make_record
from aad_tf.ops import linf_distance

# Where more slots than this only await judgement, a forward pass of those alone is cheaper than
# letting the next step, with its backward pass, tell their logits by the way.
_JUDGE_ALONE_SHARE = 1 / 2

_SLOT = np.dtype([("index", "i8"), ("label", "i4"), ("restart", "i4"), ("step", "i4")])


class Block(NamedTuple):
    """Examples that wait for a slot.

    Attributes:
        images: `[batch, H, W, C]`, clean.
        slots: what else a slot holds of each.
        context: what the objective needs of the clean images; None if not computed yet.
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
        any_iterate: judge every iterate (and a random start), not only the last one.

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
        self._step = compiled_step(classifier, attack.objective)
        self._make_context = compiled_context(classifier, attack.objective)
        self._scalars = attack.scalars(classifier.dtype)
        self._waiting: deque[Block] = deque()
        self._slots = np.empty(0, _SLOT)
        empty = tf.zeros((0, *(size or 1 for size in classifier.input_shape)), classifier.dtype)
        self._origin, self._current = empty, empty
        self._context: tuple[tf.Tensor, ...] = ()

    def add(self, images: np.ndarray, labels: np.ndarray, indices: np.ndarray) -> None:
        """Queues examples.

        Args:
            images: `[batch, H, W, C]` in the classifier's dtype.
            labels: int `[batch]`, true labels, which the classifier predicts.
            indices: int `[batch]`, places in the data set; they seed the random starts.
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
        images = np.concatenate([block.images for block in taken])
        slots = np.concatenate([block.slots for block in taken])
        contexts = zip(*(block.context or () for block in taken), strict=True)
        fresh = [images, self._starts(images, slots), *map(np.concatenate, contexts)]
        if len(self._slots):
            busy = (self._origin, self._current, *self._context)
            fresh = [tf.concat(pair, axis=0) for pair in zip(busy, fresh, strict=True)]
            slots = np.concatenate([self._slots, slots])
        self._origin, self._current, *context = map(tf.constant, fresh)
        self._context, self._slots = tuple(context), slots
        self._labels = tf.constant(slots["label"])

    def _with_context(self, block: Block) -> Block:
        """The whole block at once: few calls of the network, each over many images."""
        if block.context is not None:
            return block
        context = self._make_context(block.images, tf.constant(block.slots["label"]))
        return block._replace(context=tuple(each.numpy() for each in context))

    def _starts(self, images: np.ndarray, slots: np.ndarray) -> np.ndarray:
        if not self.attack.random_start or self.attack.epsilon is None:
            return images
        noise = np.stack(
            [unit_noise(self._seed, s["index"], s["restart"], images.shape[1:]) for s in slots]
        )
        starts = images + (self.attack.epsilon * noise).astype(images.dtype)
        return np.clip(starts, *self._classifier.bounds)

    def _advance(self) -> list[dict[str, Any]]:
        """One call of the network; slots that it settles leave, with a record or for a restart."""
        finished = self._slots["step"] == self.attack.num_steps
        moved = self._current
        if finished.sum() > _JUDGE_ALONE_SHARE * len(finished):
            judged = np.flatnonzero(finished)
            logits = self._classifier.predict_logits(_take(self._current, judged))
        else:
            moved, logits = self._step(
                self._current, self._origin, self._labels, *self._scalars, *self._context
            )
            judged = np.flatnonzero(self._judged_in_step(finished))
            logits = _take(logits, judged)
        predictions = self._predictions(logits, judged)
        leaving = (predictions != self._slots["label"][judged]) | finished[judged]
        records = self._settle(judged[leaving], predictions[leaving])
        if moved is not self._current:
            self._slots["step"] += 1
        self._current = moved
        self._release(judged[leaving])
        return records

    def _judged_in_step(self, finished: np.ndarray) -> np.ndarray:
        if not self._any_iterate:
            return finished
        # Without a random start the attack begins at the clean image, which is known to be right.
        return finished | (self._slots["step"] > 0) | self.attack.random_start

    def _predictions(self, logits: tf.Tensor, judged: np.ndarray) -> np.ndarray:
        values = np.asarray(tf.cast(logits, tf.float32)) if len(judged) else np.zeros((0, 1))
        finite = np.isfinite(values).all(axis=-1)
        if not finite.all():
            index = self._slots["index"][judged[~finite][0]]
            raise ValueError(
                f"The network's logits are NaN or infinite on example {index} under attack "
                f"{self.attack.name!r}. Evaluate it in float32, or look for what overflows."
            )
        return values.argmax(axis=-1)

    def _settle(self, at: np.ndarray, predictions: np.ndarray) -> list[dict[str, Any]]:
        """Records of the slots `at`, but for survivors that may start once more: those queue."""
        if not len(at):
            return []
        origin = _take(self._origin, at)
        distances = linf_distance(_take(self._current, at), origin).numpy()
        slots = self._slots[at]
        fooled = predictions != slots["label"]
        again = ~fooled & (slots["restart"] + 1 < self.attack.restarts)
        if again.any():
            retried = slots[again]
            retried["restart"] += 1
            retried["step"] = 0
            rows = at[again]
            context = tuple(_take(each, rows).numpy() for each in self._context)
            self._waiting.appendleft(Block(_take(self._origin, rows).numpy(), retried, context))
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

    def _release(self, at: np.ndarray) -> None:
        if not len(at):
            return
        kept = np.delete(np.arange(len(self._slots)), at)
        self._origin, self._current = _take(self._origin, kept), _take(self._current, kept)
        self._context = tuple(_take(each, kept) for each in self._context)
        self._slots = self._slots[kept]
        self._labels = tf.constant(self._slots["label"])


def _take(tensor: tf.Tensor, positions: np.ndarray) -> tf.Tensor:
    """Rows of a tensor; the positions are in order and differ, so all of them are the tensor."""
    return tensor if len(positions) == len(tensor) else tf.gather(tensor, positions)
