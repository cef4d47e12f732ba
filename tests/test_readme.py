"""README.md: its Python runs, its commands and links exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import tensorflow as tf

REPOSITORY = Path(__file__).resolve().parents[1]
TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)


def shell_commands() -> list[list[str]]:
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines]


def test_the_python_block_defends_and_exports_a_model(tmp_path, monkeypatch, capsys):
    (source,) = blocks("python")
    shortened = source.replace("epochs=8", "epochs=1")
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


def test_the_python_block_is_fifteen_lines_of_code():
    (source,) = blocks("python")
    code = [line for line in source.splitlines() if line.strip() and not line.startswith("#")]
    assert len(code) <= 15


@pytest.mark.parametrize("command", shell_commands(), ids=" ".join)
def test_command_exists_with_its_flags(command):
    if command[0] == "make":
        makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{command[1]}:", makefile, flags=re.MULTILINE)
        return
    assert command[:2] == ["python", "-m"]
    spec = importlib.util.find_spec(command[2])
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    for argument in command[3:]:
        flag = argument.removeprefix("--").split("=")[0].split(".")[0]
        assert f'"{flag}"' in source, f"{command[2]} has no flag --{flag}"


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)\s]+)\)", TEXT))))
def test_link_leads_somewhere(link):
    if link.startswith("https://"):
        return
    if link.startswith("#"):
        headings = re.findall(r"^#+ (.*)$", TEXT, flags=re.MULTILINE)
        assert link[1:] in [heading.lower().replace(" ", "-") for heading in headings]
        return
    assert (REPOSITORY / link).is_file()
