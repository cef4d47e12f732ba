"""The page of attention figures, made from the JSON files that describe the figures."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aad_tf.utils.files import PathLike
from analysis.records import Results

PAGE = "attention_gallery.md"
KEYS = ("title", "picture", "rule", "provenance")
_NAME = re.compile(r"aad_fig_((\d+)[a-z]?)")
_INTRODUCTION = """# Attention under attack in pictures

The picture figures of Wu et al. 2018 on our own networks and data, drawn by
`python -m eval.attention_gallery` from attention records and by `python -m eval.attention_pictures`
from trained networks. Rules choose the images, not people: the rule stands in every picture. A
handful of images proves nothing: numbers of the groups that they stand for are below the pictures,
and the tables over all images are in [tables](tables)."""
_WHAT_TO_SEE = {
    "1": "The paper's reading: where the attack succeeds, the clean map (second column) covers "
    "the object in part, and the attack moves and scatters it (third column); where it fails, "
    "the map covers more of the object and stays. The paper's figure is of images attacked by "
    "FGSM.",
    "2": "The paper's reading: over the rounds the attention area shrinks and scatters.",
    "3": "The paper's reading: after three rounds adversarial images look very different. "
    "Compare upper and middle row; the lower row shows what was added.",
    "5": "The paper's reading: the clean map (upper rows) comes to cover the object, the "
    "confidence falls and recovers, and the map under attack (lower rows) becomes like the clean "
    "one.",
    "6a": "The paper's reading: the network of adversarial training looks beyond the object "
    "under attack, the one of AAD keeps to it. Here both kinds of images are shown, those where "
    "AAD holds and those where it alone falls.",
    "6b": "The paper's reading: on MNIST, whose digits fill the image, there is less for AAD to "
    "gain.",
    "8": "The paper's reading: with both losses the maps cover the object, clean and attacked.",
    "9": "The paper's reading: as Figure 1, with the superpixels LIME finds most important.",
    "11": "The paper's reading: with the attention term (σ > 0) attention leaves the object "
    "round by round. With σ < 0, which the paper does not try, it is meant to hold attention in "
    "place.",
    "12": "The paper's reading: where the defence succeeds, the map of the attacked image is "
    "nearer the object under the trained network than under the plain one; where it fails, it is "
    "not.",
    "13": "As Figure 12, for adversarial training with StepLL alone.",
}


def files(results: Results) -> dict[str, str | bytes]:
    """Contents of the page of figures by path in the results directory; empty without figures.

    Returns:
        Contents by path.

    Raises:
        FileNotFoundError: a JSON file whose image is missing.
        ValueError: a file that is no gallery's.
    """
    found = find_galleries(results.root)
    return {PAGE: page(found, results.root)} if found else {}


def readme(results: Results) -> str:
    """An empty text: the README links to this page in hand-written text."""
    return ""


def find_galleries(results_dir: PathLike) -> list[tuple[Path, dict[str, Any]]]:
    """Finds the JSON files that describe figures.

    Args:
        results_dir: the directory of results.

    Returns:
        Path and content of each file, in the order of the paper's figures, by the numbers in the
        files' names.

    Raises:
        FileNotFoundError: a figure is missing.
        ValueError: a file that is no gallery's.
    """
    found = []
    for path in sorted((Path(results_dir) / "figures").glob("aad_fig_*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not JSON: {error}.") from error
        missing = [key for key in KEYS if not isinstance(content, dict) or key not in content]
        if missing:
            raise ValueError(
                f"{path} is no description of a figure that eval.attention_gallery or "
                f"eval.attention_pictures drew: no {missing[0]!r}."
            )
        if not (path.parent / content["picture"]).is_file():
            raise FileNotFoundError(
                f"{path} belongs to {content['picture']}, which is not beside it. Draw it again "
                f"with {content['provenance']['command']}."
            )
        found.append((path, content))
    return sorted(found, key=lambda entry: (_number(entry[0])[1], entry[0].name))


def _number(path: Path) -> tuple[str, int]:
    """Number of the figure with the letter of its part, and without."""
    found = _NAME.fullmatch(path.stem)
    if found is None:
        raise ValueError(f"{path} must be named aad_fig_NUMBER.json, with a letter for a part.")
    return found[1], int(found[2])


def page(galleries: list[tuple[Path, dict[str, Any]]], results_dir: PathLike) -> str:
    """The Markdown page of figures.

    Args:
        galleries: what `find_galleries` returned.
        results_dir: the directory of results, which links are relative to.

    Returns:
        The page.
    """
    parts = [_INTRODUCTION]
    for path, content in galleries:
        parts += _section(path.relative_to(results_dir), content)
    return "\n\n".join(parts) + "\n"


def _section(path: Path, content: Mapping[str, Any]) -> list[str]:
    number, _ = _number(path)
    title = f"AAD Fig. {number}: {content['title']}"
    image = f"![{title}]({(path.parent / content['picture']).as_posix()})"
    groups = "\n".join(_group_line(group) for group in content.get("groups", ()))
    sources = [_record_line(record) for record in content.get("records", ())]
    sources += [_network_line(name, one) for name, one in content.get("networks", {}).items()]
    made = f"Made by `{content['provenance']['command']}`."
    parts = [
        f"## {title}",
        image,
        _WHAT_TO_SEE.get(number, ""),
        content["rule"],
        groups,
        " ".join(content.get("attacks", ())),
        f"From {'; '.join(sources)}. {made}" if sources else made,
    ]
    return [part for part in parts if part]


def _group_line(group: Mapping[str, Any]) -> str:
    indices = ", ".join(f"{example['index']} ({example['class']})" for example in group["examples"])
    if "measure" not in group:
        return f"- {group['name']}: {group['images']:,} images; shown: {indices or 'none'}."
    return (
        f"- {group['name']}: {group['images']:,} images, {group['candidates']:,} within the rule, "
        f"median {group['measure']} {group['median']:.3f}; shown: {indices}."
    )


def _record_line(record: Mapping[str, Any]) -> str:
    data, counts = record["dataset"], record["counts"]
    return (
        f"`{Path(record['file']).name}` ({record['network']}, weights `{record['weights'][:12]}`; "
        f"{data.get('name')}, {data.get('split')}: {counts['examples']:,} images, "
        f"{counts['right']:,} right as they are)"
    )


def _network_line(name: str, network: Mapping[str, Any]) -> str:
    preset = network.get("config", {}).get("name", "")
    facts = [f"preset {preset}"] if preset else []
    if "fingerprint" in network:
        facts.append(f"weights `{network['fingerprint'][:12]}`")
    return f"{name} ({', '.join(facts)})"
