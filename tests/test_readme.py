"""README.md: its Python runs, its commands and links exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf.attention_study.records import KEYS
from aad_tf.records import read_record_lines

REPOSITORY = Path(__file__).resolve().parents[1]
TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)


def shell_commands() -> list[list[str]]:
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines]


def test_the_first_python_block_defends_and_exports_a_model(tmp_path, monkeypatch, capsys):
    source = blocks("python")[0]
    shortened = source.replace("epochs=8", "epochs=1, steps_per_epoch=6")
    assert shortened != source
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(shortened, "README.md", "exec"), names)
    fgsm, pgd = (names["report"].robust_accuracy(attack) for attack in ("fgsm", "pgd"))
    assert 0 <= pgd <= fgsm <= 1
    assert str(fgsm) in capsys.readouterr().out
    served = tf.saved_model.load(str(tmp_path / "defended")).signatures["serving_default"]
    logits = served(images=tf.zeros((3, 28, 28, 1)))["logits"]
    assert logits.shape == (3, 10)


def test_the_second_python_block_studies_attention(tmp_path, monkeypatch):
    source = blocks("python")[1]
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3)).astype(np.uint8)
    boxes = np.tile(np.float32([[[4, 8, 28, 24]]]), (60, 1, 1))
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(4, 4, 4, activation="relu", name="mixed10"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    examples = (images, np.arange(60, dtype=np.int32) % 3, boxes)
    names = {"my_model": network, "my_dataset": tf.data.Dataset.from_tensor_slices(examples)}
    monkeypatch.chdir(tmp_path)
    exec(compile(source, "README.md", "exec"), names)
    assert names["report"].summary["counts"]["examples"] == 60
    records = list(read_record_lines("mine.jsonl.gz", KEYS))
    # The box covers 24 rows and 16 columns of 32.
    assert records[59]["box_area"] == pytest.approx(24 * 16 / 32**2)


@pytest.mark.parametrize("source", blocks("python"))
def test_python_blocks_are_short(source):
    code = [line for line in source.splitlines() if line.strip() and not line.startswith("#")]
    assert len(code) <= 15


@pytest.mark.parametrize("command", shell_commands(), ids=" ".join)
def test_command_exists_with_its_flags(command):
    if command[0] == "make":
        makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{command[1]}:", makefile, flags=re.MULTILINE)
        return
    assert command[:2] == ["python", "-m"]
    program = command[2]
    for argument in command[3:]:
        if argument == "--":
            # What follows goes on to the program that the launcher starts.
            program = "train.main"
        elif argument.startswith("--"):
            flag = argument.removeprefix("--").split("=")[0].split(".")[0]
            assert f'"{flag}"' in source_of(program), f"{program} has no flag --{flag}"


def source_of(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)\s]+)\)", TEXT))))
def test_link_leads_somewhere(link):
    if link.startswith("https://"):
        return
    file, _, heading = link.partition("#")
    if file:
        assert (REPOSITORY / file).is_file()
    if heading:
        text = (REPOSITORY / file).read_text(encoding="utf-8") if file else TEXT
        headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
        assert heading in [found.lower().replace(" ", "-") for found in headings]
