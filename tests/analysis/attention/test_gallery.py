"""The page of galleries from JSON files beside figures."""

from __future__ import annotations

import json

import pytest

from analysis.attention import gallery
from analysis.records import Results

CONTENT = {
    "title": "Attention over rounds",
    "picture": "aad_fig_2.png",
    "rule": "Rule: the nearest.",
    "attacks": ["StepLL, one round of 4/255."],
    "groups": [
        {
            "name": "right, then wrong",
            "images": 1234,
            "candidates": 7,
            "measure": "IoU",
            "median": 0.25,
            "examples": [{"index": 17, "class": "koala"}, {"index": 3, "class": "lion"}],
        }
    ],
    "records": [
        {
            "file": "results/attention/x.jsonl.gz",
            "network": "plain network",
            "weights": "0123456789abcdef",
            "dataset": {"name": "tiny_imagenet_boxes", "split": "test"},
            "counts": {"examples": 2000, "right": 1300},
        }
    ],
    "provenance": {"command": "python -m eval.attention_gallery --figure=2"},
}


def write(results, name="aad_fig_2", drawn=True, **changes):
    figures = results / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    content = {**CONTENT, "picture": f"{name}.png", **changes}
    (figures / f"{name}.json").write_text(json.dumps(content))
    if drawn:
        (figures / f"{name}.png").write_bytes(b"png")


def test_page_links_figures_in_the_papers_order(tmp_path):
    write(tmp_path, "aad_fig_11", title="A3")
    write(tmp_path)
    ((path, text),) = gallery.files(Results(tmp_path)).items()
    assert path == "attention_gallery.md"
    assert "![AAD Fig. 2: Attention over rounds](figures/aad_fig_2.png)" in text
    assert text.index("## AAD Fig. 2: Attention over rounds") < text.index("## AAD Fig. 11: A3")
    assert "Rule: the nearest." in text and "StepLL, one round of 4/255." in text
    assert (
        "- right, then wrong: 1,234 images, 7 within the rule, median IoU 0.250; "
        "shown: 17 (koala), 3 (lion)." in text
    )
    assert "`x.jsonl.gz` (plain network, weights `0123456789ab`; tiny_imagenet_boxes, test" in text
    assert "`python -m eval.attention_gallery --figure=2`" in text


def test_pictures_of_trained_networks_stand_among_them(tmp_path):
    """They have no records: networks are told by preset and weights, images by the outcome."""
    networks = {
        "StepLL": {"config": {"name": "step_ll"}, "fingerprint": "0123456789abcdef"},
        "AAD": {"keras_model": "aad.keras", "fingerprint": "fedcba9876543210"},
    }
    groups = [
        {
            "name": "StepLL fooled, AAD not",
            "images": 40,
            "examples": [{"index": 3, "class": "deer"}],
        },
        {"name": "AAD fooled, StepLL not", "images": 0, "examples": []},
    ]
    kept = {key: CONTENT[key] for key in ("rule", "provenance")}
    for name, changes in (
        ("aad_fig_6b", {"groups": groups, "networks": networks}),
        ("aad_fig_6a", {}),
        ("aad_fig_11", {}),
    ):
        write(tmp_path, name)
        content = {**kept, "title": name, "picture": f"{name}.png", **changes}
        (tmp_path / "figures" / f"{name}.json").write_text(json.dumps(content))
    text = gallery.files(Results(tmp_path))["attention_gallery.md"]
    order = [text.index(f"## AAD Fig. {number}: aad_fig_{number}") for number in ("6a", "6b", "11")]
    assert order == sorted(order)
    assert "- StepLL fooled, AAD not: 40 images; shown: 3 (deer)." in text
    assert "- AAD fooled, StepLL not: 0 images; shown: none." in text
    assert (
        "From StepLL (preset step_ll, weights `0123456789ab`); AAD (weights `fedcba987654`)."
        in text
    )


def test_nothing_is_written_without_galleries(tmp_path):
    assert gallery.files(Results(tmp_path)) == {}


def test_other_files_are_refused(tmp_path):
    write(tmp_path, drawn=False)
    with pytest.raises(FileNotFoundError, match="aad_fig_2.png, which is not beside it"):
        gallery.files(Results(tmp_path))
    (tmp_path / "figures" / "aad_fig_2.json").write_text("{}")
    with pytest.raises(ValueError, match="no description of a figure .* no 'title'"):
        gallery.files(Results(tmp_path))
    (tmp_path / "figures" / "aad_fig_2.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        gallery.files(Results(tmp_path))
    (tmp_path / "figures" / "aad_fig_2.json").unlink()
    write(tmp_path, "aad_fig_two")
    with pytest.raises(ValueError, match="must be named aad_fig_NUMBER.json"):
        gallery.files(Results(tmp_path))
