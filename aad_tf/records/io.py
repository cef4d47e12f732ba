"""Records and summaries: what an evaluation leaves on disk, and how it is read back.

Records are JSON lines, one per example and attack, with the keys of `RECORD_KEYS`; a file whose
name ends with ".gz" is compressed. Beside them lies a summary as JSON.
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
    """Where the summary of a file of records lies: `x.jsonl.gz` has `x.summary.json`."""
    output = Path(output)
    stem = output.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".json")
    return output.with_name(f"{stem}.summary.json")


def read_records(path: PathLike) -> Iterator[dict[str, Any]]:
    """Reads the records of an evaluation one by one, in the order of attack and index.

    Args:
        path: file of records, compressed if its name ends with ".gz".

    Yields:
        Dicts with the keys of `RECORD_KEYS`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not a record; the message names it.

    Example:
        >>> robust = [not r["success"] for r in read_records("fgsm.jsonl.gz")]
    """
    return read_record_lines(path, RECORD_KEYS)


def read_record_lines(path: PathLike, keys: Collection[str]) -> Iterator[dict[str, Any]]:
    """Reads records of any kind one by one, in the order of the file.

    Args:
        path: file of JSON lines, compressed if its name ends with ".gz".
        keys: what every record must have.

    Yields:
        The records.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is no such record, or the file is cut short; the message names it.
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
        key: an entry that tells this kind of summary: "attacks" for robustness, "study" for
            attention.

    Returns:
        What `aad_tf.evaluation.evaluate_robustness` or
        `aad_tf.attention_study.study_attention` returned as `summary`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a summary.
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
    **more: int,
) -> dict[str, Any]:
    """One row of an evaluation, with the keys of `RECORD_KEYS` and those of `more`.

    `success` says that the example is not robust: it is misclassified under attack, or, marked by
    `clean_mistake`, it is misclassified as it is and was not attacked.

    Args:
        attack: label of the attack.
        index: of the example in its split.
        label: true class.
        clean_prediction: class of the original image.
        adversarial_prediction: class of the adversarial image; of a clean mistake that of the
            original image.
        steps: iterations behind the adversarial image, of the restart that is kept; fewer than the
            attack has if the example left early. 0 for a clean mistake.
        restart: number of that restart, from 0.
        linf: largest difference of a pixel of the adversarial image from the original one, in the
            unit of the images that the network takes.
        **more: of a targeted attack `target`, the class it aims at; of a transfer attack
            `surrogate_clean_prediction` and `surrogate_adversarial_prediction`, what the surrogate
            makes of the original and the adversarial image.
    """
    return {
        "index": index,
        "label": label,
        "attack": attack,
        "clean_prediction": clean_prediction,
        "adversarial_prediction": adversarial_prediction,
        "success": adversarial_prediction != label,
        "clean_mistake": clean_prediction != label,
        "steps": steps,
        "restart": restart,
        # Rounded above float32's own rounding, so that 0.15 reads 0.15.
        "linf": round(linf, 6),
        **more,
    }


def record_line(record: Mapping[str, Any]) -> bytes:
    """A record as one line of a file of records: JSON in UTF-8, with the line's end."""
    return json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def write_record_lines(path: PathLike, lines: Iterable[bytes]) -> None:
    """Writes a file of records, whole or not at all.

    Args:
        path: the file, compressed if its name ends with ".gz"; the same lines give the same bytes.
        lines: as `record_line` makes them.
    """
    with write_atomically(path) as file:
        if not os.fspath(path).endswith(".gz"):
            file.writelines(lines)
            return
        # Without name and time in the header, which would differ between equal results.
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as compressed:
            compressed.writelines(lines)
