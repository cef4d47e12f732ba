"""Reads ImageNet's published bounding boxes: an archive of XML files in the format of PASCAL VOC.

`ILSVRC2012_bbox_val_v3.tgz` holds one file per image, such as `val/ILSVRC2012_val_00000001.xml`. It
is read once without being unpacked; about a megabyte of arrays is kept in memory.

Corners are positions in pixels from 0 to the width or height that the file states, and are divided
by these. Some images were annotated at another size than that of the stored image, whose size is
therefore not used. Boxes that exceed the image are clipped. The few with swapped corners or without
area in the image are left out and counted in `BoxIndex.dropped`.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from aad_tf.data.description import DatasetNotFoundError

_CORNERS = ("ymin", "xmin", "ymax", "xmax")


class Annotation(NamedTuple):
    """The content of one XML file of box annotations, which belongs to one image.

    Attributes:
        size: (height, width) in pixels of the image as it was annotated.
        boxes: float32 `[n, 4]`, (ymin, xmin, ymax, xmax) in fractions of that size, neither clipped
            nor checked.
        names: WordNet id of the class of each box.
    """

    size: tuple[int, int]
    boxes: np.ndarray
    names: tuple[str, ...]


@dataclass(frozen=True)
class BoxIndex:
    """All boxes of an archive.

    Attributes:
        stems: file names without directory and ending, sorted.
        starts: int64 `[files + 1]`; the boxes of file i have the indices from starts[i] up to, but
            without, starts[i + 1].
        boxes: float32 `[boxes, 4]`, (ymin, xmin, ymax, xmax) in fractions of the image, in [0, 1].
        labels: int32 `[boxes]`, class number of each box.
        sizes: int32 `[files, 2]`, height and width in pixels of the images as annotated.
        dropped: number of boxes left out because of swapped corners or no area in the image.
        source: name of the archive or directory.
        fingerprint: 16 hexadecimal digits, a hash of names, boxes, labels and sizes.
    """

    stems: tuple[str, ...]
    starts: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    sizes: np.ndarray
    dropped: int
    source: str
    fingerprint: str


def parse_annotation(content: bytes, where: str) -> Annotation:
    """Reads one XML file of box annotations in the format of PASCAL VOC.

    Args:
        content: the file's bytes.
        where: its name, for error messages.

    Returns:
        An `Annotation`: (height, width) in pixels of the image as annotated; boxes float32 `[n, 4]`
        as (ymin, xmin, ymax, xmax) in fractions of that size, neither clipped nor checked; and the
        name of the class of each box.

    Raises:
        ValueError: not XML, not an annotation, no size, or a box that lacks a number.

    Example:
        >>> parse_annotation(Path("ILSVRC2012_val_00000001.xml").read_bytes(), "it").size
        (375, 500)
    """
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"{where} is not XML: {error}.") from error
    if root.tag != "annotation":
        raise ValueError(
            f"{where}: expected a PASCAL VOC file whose root is <annotation>, got <{root.tag}>."
        )
    height, width = (_number(root, f"size/{side}", where) for side in ("height", "width"))
    if height < 1 or width < 1:
        raise ValueError(f"{where}: <size> must be positive, got {width:g} x {height:g}.")
    objects = root.findall("object")
    names = tuple((item.findtext("name") or "").strip() for item in objects)
    corners = [[_number(item, f"bndbox/{side}", where) for side in _CORNERS] for item in objects]
    boxes = np.array(corners, np.float64).reshape(-1, 4) / [height, width, height, width]
    return Annotation((int(height), int(width)), boxes.astype(np.float32), names)


def _number(parent: ElementTree.Element, path: str, where: str) -> float:
    text = parent.findtext(path)
    if text is None:
        within = f"<{parent.tag}>/" if parent.tag != "annotation" else ""
        raise ValueError(f"{where}: {within}<{path.replace('/', '>/<')}> is missing.")
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise ValueError(f"{where}: <{path.replace('/', '>/<')}> must be a number, got {text!r}.")
    return value


def read_boxes(path: str | os.PathLike[str], class_names: Sequence[str]) -> BoxIndex:
    """Reads all boxes of an archive or of an unpacked directory.

    Boxes are clipped to the image. Those with swapped corners or without area are left out.

    Args:
        path: the archive (tar, compressed or not), or a directory in which *.xml are searched.
        class_names: WordNet ids of the data set's classes in the order of its labels.

    Returns:
        A `BoxIndex`: the sorted file names, and for each file its boxes in fractions of the image,
        their class numbers, and the size of the image as annotated. For an archive and for its
        unpacked directory the results differ only in `source`.

    Raises:
        DatasetNotFoundError: there is nothing at `path`.
        ValueError: not a tar archive, a truncated one, no XML files, a file that is not valid (the
            message names it), an image that occurs twice, or a class that is not in `class_names`.

    Example:
        >>> len(read_boxes("ILSVRC2012_bbox_val_v3.tgz", wordnet_ids).stems)
        50000
    """
    label_of = {name: label for label, name in enumerate(class_names)}
    found: dict[str, tuple[tuple[int, int], np.ndarray, np.ndarray]] = {}
    dropped = 0
    for where, content in _xml_files(Path(path).expanduser()):
        stem = PurePosixPath(where).stem
        if stem in found:
            raise ValueError(f"{path} holds {stem}.xml twice; keep one of them.")
        annotation = parse_annotation(content, where)
        boxes, labels = _usable(annotation, label_of, where)
        dropped += len(annotation.boxes) - len(boxes)
        found[stem] = (annotation.size, boxes, labels)
    if not found:
        raise ValueError(f"{path} holds no .xml file: expected the unpacked or packed annotations.")
    return _index(found, dropped, Path(path).name)


def _usable(
    annotation: Annotation, label_of: dict[str, int], where: str
) -> tuple[np.ndarray, np.ndarray]:
    unknown = [name for name in annotation.names if name not in label_of]
    if unknown:
        known = ", ".join(list(label_of)[:3])
        raise ValueError(
            f"{where}: object {unknown[0]!r} is none of the data set's {len(label_of)} classes "
            f"({known}, ...). Class names must be the WordNet ids the annotations use."
        )
    labels = np.array([label_of[name] for name in annotation.names], np.int32)
    boxes = np.clip(annotation.boxes, 0.0, 1.0)
    kept = (boxes[:, :2] < boxes[:, 2:]).all(axis=1)
    return boxes[kept], labels[kept]


def _index(found: dict, dropped: int, source: str) -> BoxIndex:
    stems = tuple(sorted(found))
    counts = [len(found[stem][1]) for stem in stems]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    boxes = np.concatenate([found[stem][1] for stem in stems])
    labels = np.concatenate([found[stem][2] for stem in stems])
    sizes = np.array([found[stem][0] for stem in stems], np.int32)
    digest = hashlib.sha256("\n".join(stems).encode())
    for array in (starts, boxes, labels, sizes):
        digest.update(array.tobytes())
    return BoxIndex(stems, starts, boxes, labels, sizes, dropped, source, digest.hexdigest()[:16])


def _xml_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields name and content of each XML file, one at a time."""
    if not path.exists():
        raise DatasetNotFoundError(
            f"No box annotations at {path}. Download ILSVRC2012_bbox_val_v3.tgz ('Validation "
            "bounding box annotations') from image-net.org and pass its path, packed or unpacked."
        )
    if path.is_dir():
        for file in sorted(path.rglob("*.xml")):
            yield file.relative_to(path).as_posix(), file.read_bytes()
        return
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.name.endswith(".xml") else None
                if content is not None:
                    yield member.name, content.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise ValueError(
            f"{path} is not a tar archive, or is cut short ({error}). Expected "
            "ILSVRC2012_bbox_val_v3.tgz as downloaded, or the directory unpacked from it."
        ) from error
