"""Reads and writes the files of an evaluation: its records and its summary.

Records are JSON lines. A robustness evaluation writes one per example and attack, with the keys of
`RECORD_KEYS`; a transfer evaluation one per example, with those of `TRANSFER_KEYS`; an attention
study one per image, with those of `aad_tf.attention_study.records.KEYS`. A file whose name ends
with ".gz" is compressed. The summary is a JSON file in the same directory.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aad_tf.utils.files import PathLike, write_atomically

RECORD_KEYS = (
    "index",
    "label",
    "attack",
    "clean_prediction",
    "adversarial_prediction",
    "success",
    "clean_mistake",
    "steps",
    "restart",
    "linf",
)
# Of transfer evaluations.
TRANSFER_KEYS = ("index", "label", "clean", "adversarial")


def summary_path(output: PathLike) -> Path:
    """The path of the summary of a file of records: `x.summary.json` for `x.jsonl.gz`."""
    output = Path(output)
    stem = output.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".json")
    return output.with_name(f"{stem}.summary.json")


def check_own_summary(output: PathLike) -> None:
    """Checks that new records do not take the summary of other records, such as `x.jsonl.gz`.

    Args:
        output: file of records. Nothing is checked if it exists.

    Raises:
        FileExistsError: there is a summary, and a file of records that it belongs to.
    """
    output, summary = Path(output), summary_path(output)
    if output.exists() or not summary.exists():
        return
    stem = summary.name.removesuffix(".summary.json")
    # A plain ".json" may as well say what a picture shows.
    for ending in ("", ".gz", ".json.gz", ".jsonl", ".jsonl.gz"):
        other = output.with_name(stem + ending)
        if other.is_file():
            raise FileExistsError(
                f"{output} would overwrite {summary.name}, the summary of {other.name}. Choose "
                f"another output."
            )


def read_records(path: PathLike) -> Iterator[dict[str, Any]]:
    """Reads the records of a robustness evaluation one by one, in the order of the file.

    That order is by attack, then by index of the example.

    Args:
        path: file of records, compressed if its name ends with ".gz".

    Yields:
        Dicts with at least `index` of the example, `label`, name of the `attack`,
        `clean_prediction`, `adversarial_prediction`, `success` (misclassified under attack or when
        clean), `clean_mistake` (misclassified when clean), `steps` (iterations), `restart` and
        `linf` (largest difference of a pixel). The record of an attack in l2 also has `l2`, the l2
        distance; that of a cascade `broken_by`, the name of the attack in it that got the image
        misclassified, or None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not such a record, or the file is cut short; the message names the
            line.

    Example:
        >>> robust = [not r["success"] for r in read_records("fgsm.jsonl.gz")]
    """
    return read_record_lines(path, RECORD_KEYS)


def read_record_lines(path: PathLike, keys: Collection[str]) -> Iterator[dict[str, Any]]:
    """Reads records of any kind one by one, in the order of the file.

    Args:
        path: file of JSON lines, compressed if its name ends with ".gz".
        keys: keys that every record must have.

    Yields:
        The records, dicts.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is no such record, or the file is cut short; the message names the line.
    """
    opener = gzip.open if os.fspath(path).endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as file:
        number = 0
        try:
            for number, line in enumerate(file, start=1):  # noqa: B007, the error tells it
                record = json.loads(line)
                if not isinstance(record, dict) or not record.keys() >= set(keys):
                    raise ValueError(f"expected the keys {', '.join(keys)}")
                yield record
        except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(
                f"{path} is no file of records, or damaged, at line {number}: {error}."
            ) from error


def read_summary(path: PathLike, key: str = "attacks") -> dict[str, Any]:
    """Reads the summary of an evaluation.

    Args:
        path: the file of records, or the summary itself.
        key: an entry that the summary must have: "attacks" of a robustness evaluation, "transfer"
            of a transfer evaluation, "study" of an attention study.

    Returns:
        The dict that the report of that evaluation had as `summary`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, or has no such entry.
    """
    path = Path(path)
    path = path if path.name.endswith(".summary.json") else summary_path(path)
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if not isinstance(summary, dict) or key not in summary:
        raise ValueError(f"{path} is not the summary expected here: it has no {key!r}.")
    return summary


def make_record(
    attack: str,
    *,
    index: int,
    label: int,
    clean_prediction: int,
    adversarial_prediction: int,
    steps: int = 0,
    restart: int = 0,
    linf: float = 0.0,
    l2: float | None = None,
    **more: int,
) -> dict[str, Any]:
    """Makes the record of one example under one attack.

    Args:
        attack: name of the attack.
        index: index of the example in its data set.
        label: true class.
        clean_prediction: class predicted on the clean image.
        adversarial_prediction: class predicted on the adversarial image; that of the clean image if
            the clean image is misclassified, because it is then not attacked.
        steps: number of iterations that made the adversarial image, within the restart that is
            kept; fewer than the attack's if it succeeded before. 0 if it was not attacked.
        restart: number of that restart, from 0.
        linf: largest difference in any pixel between the adversarial and the clean image, in the
            unit of the images that the network takes.
        l2: l2 distance between the two images, in the same unit, of an attack in l2; None of
            others, whose records do not have it.
        **more: further entries: of a targeted attack `target`, its target class; of a transfer
            attack `surrogate_clean_prediction` and `surrogate_adversarial_prediction`, the classes
            that the surrogate predicts on the clean and the adversarial image.

    Returns:
        A dict of all arguments by name (without `l2` if it is None), and of two bools:
        `clean_mistake`, whether the clean image is misclassified; `success`, whether the example is
        not robust: misclassified under attack or when clean. Distances are rounded to 6 decimals;
        where an example is not robust and that would give 0, the distance of clean mistakes, they
        are not rounded. The record of a cascade also has `broken_by`, the name of the attack that
        got the image misclassified, or None; `aad_tf.evaluation.cascade.CascadePool` adds it.
    """
    misclassified = adversarial_prediction != label
    return {
        "index": index,
        "label": label,
        "attack": attack,
        "clean_prediction": clean_prediction,
        "adversarial_prediction": adversarial_prediction,
        "success": misclassified,
        "clean_mistake": clean_prediction != label,
        "steps": steps,
        "restart": restart,
        # Rounded above float32's own rounding, so that 0.15 reads 0.15.
        "linf": _rounded(linf, misclassified),
        **({} if l2 is None else {"l2": _rounded(l2, misclassified)}),
        **more,
    }


def _rounded(distance: float, misclassified: bool) -> float:
    """A distance with 6 decimals; of a misclassified image it is 0 only if it was 0."""
    return round(distance, 6) or (distance if misclassified else 0.0)


def record_line(record: Mapping[str, Any]) -> bytes:
    """Writes a record as one line of a file of records.

    Args:
        record: a dict that JSON can hold.

    Returns:
        The line, bytes: JSON in UTF-8, ending with a line feed.

    Raises:
        TypeError: the record holds what JSON cannot hold.
        ValueError: the record holds NaN or infinity.
    """
    return json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def write_record_lines(path: PathLike, lines: Iterable[bytes]) -> None:
    """Writes a file of records, complete or not at all.

    Args:
        path: the file, compressed if its name ends with ".gz"; the same lines give the same bytes.
        lines: one per record: JSON in UTF-8, ending with a line feed, as `record_line` makes them.

    Raises:
        OSError: the file cannot be written.
    """
    with write_atomically(path) as file:
        if not os.fspath(path).endswith(".gz"):
            file.writelines(lines)
            return
        # Without name and time in the header, which would differ between equal results.
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as compressed:
            compressed.writelines(lines)
