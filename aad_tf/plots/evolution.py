"""How the attention maps of a few images change while a network is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from aad_tf.plots.grid import Panel, attention_grid
from aad_tf.plots.images import displayable
from aad_tf.types import Bounds
from aad_tf.utils.checks import check_count
from aad_tf.utils.files import PathLike, write_atomically

_KEYS = ("update", "images", "maps", "captions", "truth", "attack")


class Snapshot(NamedTuple):
    """What one network shows of a few images, clean and perhaps attacked as well.

    Attributes:
        update: number of updates of the weights before.
        images: uint8 `[kinds, batch, H, W, 3]`, colours for display: first the clean images, then,
            if there are two kinds, the attacked ones.
        maps: float `[kinds, batch, h, w]`, their Grad-CAM maps.
        captions: text `[kinds, batch]`, predicted class and probability of each.
        truth: text `[batch]` that stands beneath the images, such as `"true: 7"`.
        attack: name of the attack; empty if there are clean images alone.
    """

    update: int
    images: np.ndarray
    maps: np.ndarray
    captions: np.ndarray
    truth: np.ndarray
    attack: str = ""

    def is_of_same_images(self, other: Snapshot) -> bool:
        """Whether another snapshot has the same clean images and the same attack or none."""
        return (
            self.images.shape == other.images.shape
            and self.attack == other.attack
            and np.array_equal(self.images[0], other.images[0])
        )


def snapshot_of(
    update: int, columns: Sequence[Sequence[Panel]], bounds: Bounds, attack: str = ""
) -> Snapshot:
    """Makes a snapshot of the panels of a figure.

    Args:
        update: number of updates of the weights before.
        columns: panels of the clean images, those of their maps over them and, if they were
            attacked, panels of the attacked images and those of their maps: what `image_panels` and
            `map_panels` make by turns.
        bounds: pixel range of the panels' images, (lower, upper).
        attack: name of the attack, if the images were attacked.

    Returns:
        The snapshot, whose images are rounded to 256 levels of each colour.

    Example:
        >>> columns = [image_panels(images, ["true: 7"]), map_panels(classifier, images, [7])]
        >>> save_snapshot(snapshot_of(0, columns, classifier.bounds), "before.npz")
    """
    shown = columns[1::2]
    colours = [[displayable(panel.image, bounds) for panel in panels] for panels in shown]
    return Snapshot(
        update,
        np.round(255 * np.array(colours)).astype(np.uint8),
        np.array([[panel.attention_map for panel in panels] for panels in shown], np.float32),
        np.array([[panel.caption for panel in panels] for panels in shown]),
        np.array([panel.caption for panel in columns[0]]),
        attack,
    )


def save_snapshot(snapshot: Snapshot, path: PathLike) -> None:
    """Writes a snapshot as a compressed `.npz` file of NumPy, complete or not at all.

    Args:
        snapshot: the snapshot; its attributes are the file's arrays.
        path: file to write; its directory must exist.

    Raises:
        OSError: the path cannot be written.
    """
    with write_atomically(path) as file:
        np.savez_compressed(file, **snapshot._asdict())


def load_snapshot(path: PathLike) -> Snapshot:
    """Reads what `save_snapshot` wrote.

    Args:
        path: the `.npz` file.

    Returns:
        The snapshot.

    Raises:
        OSError: there is no such file.
        ValueError: a file of another kind, or a damaged one.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {key: file[key] for key in _KEYS}
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} is no snapshot of attention, or damaged: {error}. Snapshots are the .npz "
            f"files that AttentionSnapshots writes."
        ) from error
    update, attack = int(found.pop("update")), str(found.pop("attack"))
    return Snapshot(update, attack=attack, **found)


def attention_evolution(
    snapshots: Sequence[Snapshot],
    *,
    count: int | None = None,
    columns: int = 6,
    heading: Sequence[str] = (),
) -> Figure:
    """Draws how attention changes over the updates of a training, [AAD Fig. 5].

    Each image has a row of its clean maps and, if it was attacked, a row of the maps under attack
    below. The first column shows the image itself, attacked in the lower row as it was at the last
    update; every further column is a moment of the training. The predicted class and its
    probability are written beneath each map.

    Args:
        snapshots: of the same images, in any order.
        count: how many of the images are drawn, the first ones; None for all.
        columns: largest number of moments; of more snapshots those are drawn that lie most evenly
            between the first and the last, in their order.
        heading: paragraphs above everything, the first in bold.

    Returns:
        A matplotlib figure.

    Raises:
        TypeError: `count` or `columns` that is not an integer.
        ValueError: no snapshots, snapshots of different images or attacks, no images to draw, or
            fewer than two columns.

    Example:
        >>> paths = sorted(pathlib.Path("runs/mnist_aad/attention").glob("*.npz"))
        >>> figure = attention_evolution([load_snapshot(path) for path in paths], count=2)
    """
    ordered = sorted(snapshots, key=lambda snapshot: snapshot.update)
    if not ordered:
        raise ValueError("There are no snapshots to draw.")
    first = ordered[0]
    for other in ordered[1:]:
        if not first.is_of_same_images(other):
            raise ValueError(
                f"The snapshots of updates {first.update} and {other.update} are of different "
                f"images or attacks, so that they belong to different runs."
            )
    check_count(columns, "columns", least=2)
    if count is not None:
        check_count(count, "count")
    places = np.linspace(0, len(ordered) - 1, min(columns, len(ordered))).round().astype(int)
    shown = [ordered[place] for place in places]
    rows, titles = [], []
    for image in range(first.images.shape[1])[:count]:
        for kind, title in enumerate(("clean", "attacked")[: len(first.images)]):
            pixels: Any = shown[-1].images[kind, image] / 255
            row = [Panel(pixels, caption=str(first.truth[image]) if kind == 0 else "")]
            row += [
                Panel(
                    one.images[kind, image] / 255,
                    one.maps[kind, image],
                    str(one.captions[kind, image]),
                )
                for one in shown
            ]
            rows.append(row)
            titles.append(title)
    return attention_grid(
        rows,
        column_titles=["image", *(f"update {one.update:,}" for one in shown)],
        row_titles=titles,
        heading=heading,
    )
