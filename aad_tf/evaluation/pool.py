"""A batch of examples under attack, in which those whose attack is over are replaced from a queue.

An attack on a fixed batch spends most of its time on images that are misclassified already. The
pool has a fixed number of slots, the places of its batch. A slot holds one image, at an iteration
and a restart of its own, whose attack is not over: it has not yet succeeded at an image that is
judged (misclassified within the budget, or classified as the target if there is one), and has
iterations or restarts left. When the attack is over, the next image of the queue takes the slot.
Iterations and starts are those of the attack, as in a direct call, and so is the rule of restarts
(`aad_tf.attacks.loop.starts_again`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from aad_tf.attacks import IterativeAttack
from aad_tf.attacks.loop import Examples, State, starts_again, where
from aad_tf.attacks.objectives import target_classes
from aad_tf.classifier import Classifier
from aad_tf.records import make_record
from aad_tf.utils.norms import distance

# Where more than this fraction of the slots only await classification, a forward pass of those
# alone is cheaper than the next iteration, whose backward pass they do not need.
_FORWARD_ONLY_FRACTION = 1 / 2

# Iterations in one call of the network: so many at most, and no more if it takes longer, so that
# progress shows and Ctrl-C is heard.
_MOST_AT_ONCE = 64
_SECONDS_AT_ONCE = 0.25

_NO_GOAL = -1
# Of an example: where its attack stands, and what would be written of it if it ended now. `goal`
# is the class that a targeted attack aims at, `seen` is what the surrogate predicts.
_SLOT = np.dtype(
    [
        ("index", "i8"),
        *((name, "i4") for name in ("label", "goal", "restart", "step")),
        *((name, "i4") for name in ("clean_prediction", "clean_seen", "prediction", "seen")),
        *(("best_restart", "i4"), ("best_step", "i4"), ("linf", "f8"), ("l2", "f8")),
    ]
)


class Block(NamedTuple):
    """Examples that wait to be attacked.

    Attributes:
        images: `[batch, H, W, C]`, clean images.
        slots: structured array `[batch]`, the state of each example: index, label, predictions so
            far, restart and iteration.
        context: tensors `[batch, ...]` that the attack's objective computes once from the clean
            images; None if not computed yet.
    """

    images: np.ndarray
    slots: np.ndarray
    context: tuple[np.ndarray, ...] | None = None

    def split(self, count: int) -> tuple[Block, Block]:
        """Divides the examples in two.

        Args:
            count: size of the first part.

        Returns:
            A `Block` of the first `count` examples, and one of the others.
        """
        return self._part(slice(count)), self._part(slice(count, None))

    def _part(self, part: slice) -> Block:
        context = None if self.context is None else tuple(each[part] for each in self.context)
        return Block(self.images[part], self.slots[part], context)


class Left(NamedTuple):
    """Examples whose attack is over.

    Attributes:
        originals: `[size, H, W, C]`, clean images of all examples that were under attack.
        rows: int `[batch]`, the rows of `originals` that belong to the examples that left.
        slots: structured array `[batch]`, their state, from which records are made.
        succeeded: bool `[batch]`, whether the attack succeeded.
    """

    originals: tf.Tensor
    rows: np.ndarray
    slots: np.ndarray
    succeeded: np.ndarray

    def images(self, chosen: np.ndarray) -> np.ndarray:
        """Clean images of some of the examples.

        Args:
            chosen: bool `[batch]`, True for those wanted.

        Returns:
            `[n, H, W, C]`.
        """
        return tf.gather(self.originals, self.rows[chosen]).numpy()


class AttackPool:
    """One attack running over a stream of correctly classified examples.

    Args:
        classifier: the network that judges the images.
        attack: the attack to run.
        size: how many examples are under attack at a time, at least 1.
        seed: seed of the random starts.
        any_iterate: True judges the images at a random start within the budget and after every
            iteration, False after the last one alone. An attack that returns the best image it met
            (`apgd`, `fab`, `square`) is always judged after every iteration, unless it follows a
            surrogate and this is False: then the image that it returns is judged.
        surrogate: the network whose gradients the attack follows; None for the classifier.

    Attributes:
        attack: the argument of that name.

    Example:
        >>> pool = AttackPool(classifier, pgd(0.1, 0.02, 10), 100, seed=0, any_iterate=True)
        >>> pool.add(images, pool.slots(labels, indices, predictions, predictions))
        >>> records = [record for batch in pool.run(drain=True) for record in batch]
    """

    def __init__(
        self,
        classifier: Classifier,
        attack: IterativeAttack,
        size: int,
        *,
        seed: int,
        any_iterate: bool,
        surrogate: Classifier | None = None,
    ) -> None:
        self.attack = attack
        self._classifier = classifier
        self._surrogate = surrogate
        self._size = size
        self._seed = seed
        self._any_iterate = any_iterate or (attack.keeps_best and surrogate is None)
        # Its last iterate may lie anywhere, or be worse than one before.
        self._by_result = attack.minimum_norm or (attack.keeps_best and not self._any_iterate)
        # The last image of FAB is judged within its iterations, of others by one more.
        judged = self._by_result and not attack.minimum_norm
        self._num_iterations = attack.num_steps + judged
        source = classifier if surrogate is None else surrogate
        self._iterate = attack.compiled_iterations(source)
        # The classifier sees the iterates of a surrogate one by one.
        self._most = 1
        self._grows = surrogate is None or not self._any_iterate
        self._context = attack.compiled_context(source)
        self._waiting: deque[Block] = deque()
        self._slots = np.empty(0, _SLOT)
        # Examples and State, one entry per slot; None as long as no slot is taken.
        self._active: Any = None

    def slots(
        self, labels: np.ndarray, indices: np.ndarray, predictions: np.ndarray, seen: np.ndarray
    ) -> np.ndarray:
        """Makes the state of new examples: what is known of each before it is attacked.

        Args:
            labels: int `[batch]`, true labels.
            indices: int `[batch]`, indices in the data set; they seed the random starts.
            predictions: int `[batch]`, classes that the classifier predicts on the clean images.
            seen: int `[batch]`, classes that the surrogate predicts on them; without a surrogate
                the same as `predictions`.

        Returns:
            A structured array `[batch]`, one entry per example, which the methods `add` and
            `records` take.
        """
        slots = np.zeros(len(labels), _SLOT)
        slots["index"], slots["label"] = indices, labels
        slots["clean_prediction"] = slots["prediction"] = predictions
        slots["clean_seen"] = slots["seen"] = seen
        goals = target_classes(self.attack.objective, labels)
        slots["goal"] = _NO_GOAL if goals is None else goals.numpy()
        return slots

    def add(self, images: np.ndarray, slots: np.ndarray) -> None:
        """Queues examples that the classifier classifies correctly.

        Args:
            images: `[batch, H, W, C]` in the classifier's dtype.
            slots: `[batch]`, their state as the method `slots` made it. No label may be the class
                that a targeted attack aims at.
        """
        if len(slots):
            self._waiting.append(Block(images, slots))

    @property
    def doing(self) -> str:
        """Text that names the attack, how many images it has left, and its iteration."""
        count = len(self._slots) + sum(len(block.slots) for block in self._waiting)
        if not len(self._slots):
            return f"{self.attack.name}: {count} images left"
        done = self._slots["restart"] * self.attack.num_steps + self._slots["step"]
        total = self.attack.restarts * self.attack.num_steps
        done = min(int(done.min()), total)
        return f"{self.attack.name}: {count} images left, iteration {done:,} of {total:,}"

    def run(self, *, drain: bool = False) -> Iterator[list[dict[str, Any]]]:
        """Attacks the queued examples.

        Args:
            drain: True goes on until no example is left; False stops when fewer than `size` are
                left.

        Yields:
            After each call of the network a list, possibly empty, with a record for each example
            whose attack is over: a dict of `index` in the data set, `label`, `attack` (its name),
            `clean_prediction`, `adversarial_prediction`, `success` (misclassified under attack),
            `clean_mistake` (misclassified when clean, always False here), `steps` (iterations that
            made the image), `restart` (from 0) and `linf` (largest change of a pixel); under an
            attack in l2 also `l2` (the l2 distance from the clean image); for a targeted attack
            also `target`; with a surrogate also the classes that it predicts,
            `surrogate_clean_prediction` and `surrogate_adversarial_prediction`.

        Raises:
            ValueError: the network's logits are NaN or infinite.
        """
        for left in self.work(drain=drain):
            yield self.records(left.slots)

    def work(self, *, drain: bool = False) -> Iterator[Left]:
        """Attacks the queued examples, as `run` does, without making records.

        Args:
            drain: True goes on until no example is left; False stops when fewer than `size` are
                left.

        Yields:
            After each call of the network a `Left` with the examples whose attack is over, possibly
            none: their clean images, their state, and whether the attack succeeded.

        Raises:
            ValueError: the network's logits are NaN or infinite.
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

    def _advance(self) -> Left:
        """Iterations up to the next event; finished slots are freed, for good or for a restart."""
        examples, state = self._active
        finished = self._slots["step"] == self._num_iterations
        following, logits = state, None
        by_result = self._by_result and finished.any()
        if by_result:
            images = where(tf.constant(finished), self.attack.result(state), state.images)
            state = following = state._replace(images=images)
            self._active = (examples, state)
        if by_result or finished.sum() > _FORWARD_ONLY_FRACTION * len(finished):
            classified = np.flatnonzero(finished)
        else:
            following, logits = self._iterated()
            examples, state = self._active
            classified = np.flatnonzero(self._classified_by_iteration(finished))
        if logits is None or (self._surrogate is not None and len(classified)):
            logits = self.attack.predict_logits(self._classifier, self._images(classified))
        else:
            logits = _take(logits, classified)
        hint = f" under attack {self.attack.name!r}. Try float32, or look for what overflows."
        predictions = predicted_classes(logits, self._slots["index"][classified], hint)
        succeeded = self._note(classified, predictions, finished[classified])
        leaving = succeeded | finished[classified]
        left = self._settle(classified[leaving], succeeded[leaving])
        if following is not state:
            self._slots["step"] += 1
        self._active = (examples, following)
        if leaving.any():
            kept = np.delete(np.arange(len(self._slots)), classified[leaving])
            self._active, self._slots = _rows(self._active, kept), self._slots[kept]
        return left

    def _iterated(self) -> tuple[State, tf.Tensor]:
        """Iterations until an image is misclassified or an example has had all of its own.

        Returns:
            The next state, and the logits before; slots and states are then those before the last
            of the iterations.
        """
        examples, state = self._active
        to_do = int(np.min(self._num_iterations - self._slots["step"]))
        begin = time.perf_counter()
        reached = self._iterate(state, examples, max(1, min(to_do, self._most)), self._any_iterate)
        count = int(reached.count)
        if self._grows and time.perf_counter() - begin < _SECONDS_AT_ONCE / 2:
            self._most = min(2 * self._most, _MOST_AT_ONCE)
        self._slots["step"] += count - 1
        self._active = (examples, reached.before)
        return reached.state, reached.logits

    def _images(self, rows: np.ndarray) -> tf.Tensor:
        """The images under attack of some slots."""
        return _take(self._active[1].images, rows)

    def _classified_by_iteration(self, finished: np.ndarray) -> np.ndarray:
        if not self._any_iterate:
            return finished
        # Without a random start the attack begins at the original image, known to be correct.
        return finished | (self._slots["step"] > 0) | self.attack.starts_in_budget

    def _note(self, rows: np.ndarray, predictions: np.ndarray, finished: np.ndarray) -> np.ndarray:
        """Notes what became of the images of some slots; whether the attack has succeeded on each.

        An untargeted attack has succeeded once the image is misclassified. A targeted one goes on
        to its target; until then the first misclassification is kept.
        """
        slots = self._slots[rows]
        misclassified = predictions != slots["label"]
        if self.attack.minimum_norm:
            misclassified &= finished | self._within_budget(rows)
        targeted = slots["goal"] != _NO_GOAL
        succeeded = np.where(targeted, predictions == slots["goal"], misclassified)
        still_correct = slots["prediction"] == slots["label"]
        noted = succeeded | (still_correct & (misclassified | finished))
        changed = rows[noted]
        if not len(changed):
            return succeeded
        notes = self._slots[changed]
        notes["prediction"] = predictions[noted]
        notes["best_step"] = np.minimum(notes["step"], self.attack.num_steps)
        notes["best_restart"] = notes["restart"]
        for norm in dict.fromkeys(("linf", self.attack.norm)):
            notes[norm] = self._distances(changed, norm)
        if self._surrogate is not None:
            logits = self._surrogate.predict_logits(self._images(changed))
            notes["seen"] = predicted_classes(logits, notes["index"], " by the surrogate.")
        self._slots[changed] = notes
        return succeeded

    def _within_budget(self, rows: np.ndarray) -> np.ndarray:
        """Whether the attack may end at the images of some slots, bool `[rows]`."""
        if self.attack.epsilon is None:
            return np.full(len(rows), False)
        epsilon = tf.constant(self.attack.epsilon, self._classifier.dtype)
        return self._distances(rows, self.attack.norm) <= epsilon.numpy()

    def _distances(self, rows: np.ndarray, norm: str) -> np.ndarray:
        """Distances of the images of some slots from the original ones, in a norm."""
        examples, state = self._active
        distances: tf.Tensor = distance(
            _take(state.images, rows), _take(examples.images, rows), norm
        )
        return distances.numpy()

    def _settle(self, rows: np.ndarray, succeeded: np.ndarray) -> Left:
        """Returns the examples whose attack is over; those that start again join the queue."""
        slots = self._slots[rows]
        again = starts_again(succeeded, slots["restart"], self.attack.restarts)
        if again.any():
            retried = slots[again]
            retried["restart"] += 1
            retried["step"] = 0
            origin, _, context = tf.nest.map_structure(
                lambda each: each.numpy(), _rows(self._active[0], rows[again])
            )
            self._waiting.appendleft(Block(origin, retried, context))
        originals = self._active[0].images
        return Left(originals, rows[~again], slots[~again], succeeded[~again])

    def records(self, slots: np.ndarray) -> list[dict[str, Any]]:
        """Makes the records of examples from their present state.

        Args:
            slots: structured array `[batch]`, the state of the examples, made by the method
                `slots`.

        Returns:
            One dict per example: `index`, `label`, `attack` (its name), `clean_prediction`,
            `adversarial_prediction`, `success` (misclassified under attack or when clean),
            `clean_mistake`, `steps` (iterations), `restart`, `linf` (largest change of a pixel);
            for an attack in l2 `l2` (the l2 distance from the clean image); for a targeted attack
            `target`; with a surrogate the classes that it predicts,
            `surrogate_clean_prediction` and `surrogate_adversarial_prediction`.
        """
        return [self._record(slot) for slot in slots]

    def _record(self, slot: np.void) -> dict[str, Any]:
        more = {}
        if slot["goal"] != _NO_GOAL:
            more["target"] = int(slot["goal"])
        if self._surrogate is not None:
            more["surrogate_clean_prediction"] = int(slot["clean_seen"])
            more["surrogate_adversarial_prediction"] = int(slot["seen"])
        return make_record(
            self.attack.name,
            index=int(slot["index"]),
            label=int(slot["label"]),
            clean_prediction=int(slot["clean_prediction"]),
            adversarial_prediction=int(slot["prediction"]),
            steps=int(slot["best_step"]),
            restart=int(slot["best_restart"]),
            linf=float(slot["linf"]),
            l2=float(slot["l2"]) if self.attack.norm == "l2" else None,
            **more,
        )


def predicted_classes(logits: tf.Tensor, indices: np.ndarray, hint: str) -> np.ndarray:
    """The class of the highest logit of each example.

    Args:
        logits: `[batch, classes]`.
        indices: int `[batch]`, indices in the data set, for the error.
        hint: how the error's sentence goes on after the index of the example.

    Returns:
        int `[batch]`.

    Raises:
        ValueError: logits that are NaN or infinite.
    """
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
