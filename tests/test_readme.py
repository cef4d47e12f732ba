"""README.md: its Python runs, its commands and links exist."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import aad_tf
from aad_tf.attention_study.records import KEYS
from aad_tf.records import read_record_lines, read_summary
from tests.binaries.many_runs import Run, run_each

REPOSITORY = Path(__file__).resolve().parents[1]
TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)


def block_of(heading: str, number: int = 0) -> str:
    """A Python block of the section with that heading."""
    section = re.split(rf"^## {re.escape(heading)}$", TEXT, flags=re.M)[1]
    section = re.split(r"^## ", section, flags=re.M)[0]
    return re.findall(r"^```python\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE)[number]


def shell_commands(text: str = "".join(blocks("sh"))) -> list[list[str]]:
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines]


def small_network() -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(4, 4, 4, activation="relu", name="mixed10"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )


def test_the_first_python_block_defends_and_exports_a_model(tmp_path, monkeypatch, capsys):
    source = block_of("Defend your own model")
    shortened = source
    for long, short in (
        ("epochs=8", "epochs=1, steps_per_epoch=2"),
        ("batch_size=100", "batch_size=100, limit=20"),
    ):
        assert long in shortened
        shortened = shortened.replace(long, short)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(shortened, "README.md", "exec"), names)
    fgsm, pgd = (names["report"].robust_accuracy(attack) for attack in ("fgsm", "pgd"))
    assert 0 <= pgd <= fgsm <= 1
    assert str(fgsm) in capsys.readouterr().out
    served = tf.saved_model.load(str(tmp_path / "defended")).signatures["serving_default"]
    logits = served(images=tf.zeros((3, 28, 28, 1)))["logits"]
    assert logits.shape == (3, 10)


def test_attention_is_studied_with_boxes(tmp_path, monkeypatch):
    source = block_of("Where does it look under attack?")
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3)).astype(np.uint8)
    boxes = np.tile(np.float32([[[4, 8, 28, 24]]]), (60, 1, 1))
    examples = (images, np.arange(60, dtype=np.int32) % 3, boxes)
    names = {
        "my_model": small_network(),
        "my_dataset": tf.data.Dataset.from_tensor_slices(examples),
    }
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


def test_attention_is_studied_without_boxes(tmp_path, monkeypatch):
    images = np.random.default_rng(0).uniform(size=(60, 32, 32, 3)).astype(np.float32)
    names = {"my_model": small_network(), "my_images": images, "my_labels": np.arange(60) % 3}
    monkeypatch.chdir(tmp_path)
    exec(compile(block_of("Where does it look under attack?", 1), "README.md", "exec"), names)
    assert names["report"].summary["counts"]["without_box"] == 60


def test_whether_maps_say_what_the_network_uses():
    images = np.random.default_rng(0).uniform(size=(5, 32, 32, 3)).astype(np.float32)
    labels = np.array([0, 1, 2, 0, 1])
    names = {"my_model": small_network(), "my_images": images, "my_labels": labels}
    exec(compile(block_of("Where does it look under attack?", 2), "README.md", "exec"), names)
    for name in ("removed", "shown", "baseline", "change"):
        assert names[name].shape == (5,)
    assert [step.layer.split("_")[0] for step in names["layers"]] == ["none", "dense", "mixed10"]


def test_robustness_is_evaluated_at_one_budget_and_at_all(tmp_path, monkeypatch, capsys):
    # Thousands of queries are not needed to see that it runs.
    source = block_of("How robust is it really?").replace("auto_attack(", "quick_cascade(")
    network = small_network()
    images = np.random.default_rng(0).uniform(size=(12, 32, 32, 3)).astype(np.float32)
    labels = np.argmax(network(images), -1)
    labels[0] = (labels[0] + 1) % 3
    names = {"my_model": network, "my_images": images, "my_labels": labels}
    monkeypatch.chdir(tmp_path)
    exec(compile(source, "README.md", "exec"), names)
    assert names["broken_by"][0] is None
    assert set(names["broken_by"][1:]) <= {"apgd-ce", "apgd-t", None}
    assert "robust accuracy after each attack: apgd-ce" in capsys.readouterr().out
    assert names["curve"].robust_accuracies[0] == 11 / 12
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_adaptive_attacks_stand_beside_plain_ones(capsys):
    source = block_of("How robust is it really?", 1)
    shortened = source.replace("(0.15, ", "(0.15, 1, ")
    assert shortened != source
    images = np.random.default_rng(0).uniform(size=(8, 32, 32, 3)).astype(np.float32)
    model = aad_tf.AADModel(small_network(), attack="step_ll(epsilon=0.1)", weights=(8, 2, 1))
    names = {"model": model, "twin": small_network(), "pair": (images, np.arange(8) % 3)}
    names |= {"attacks": aad_tf.attacks, "evaluate_robustness": aad_tf.evaluate_robustness}
    names["format_summary"] = aad_tf.evaluation.format_summary
    exec(compile(shortened, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "aad_total(apgd,weights=(8,-2,-1))" in printed and "transfer(pgd)" in printed
    assert f"Worst over all 12 attacks within 0.15: {names['worst']:.2%}" in printed


def test_every_network_judges_images_made_on_all(tmp_path, monkeypatch, capsys):
    images = np.random.default_rng(0).uniform(size=(8, 32, 32, 3)).astype(np.float32)
    names = {name: small_network() for name in ("resnet50", "cbam_resnet50", "vgg16")}
    names |= {"my_images": images, "my_labels": np.arange(8) % 3}
    monkeypatch.chdir(tmp_path)
    exec(compile(block_of("Do attacks transfer?"), "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "total epsilon 0.15 = 38.25/255" in printed
    assert str(names["report"].accuracy("vgg16", "cbam_resnet50", "fgsm(epsilon=0.1)")) in printed
    assert len(list(names["report"].records())) == 8
    for name in ("matrix.png", "curves.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_model_of_ones_own_trains_on_many_machines():
    names: dict[str, object] = {"aad_tf": aad_tf, "keras": keras}
    exec(compile(block_of("On many machines"), "README.md", "exec"), names)
    inputs = keras.Input((2,))
    model = names["Model"](inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    history = model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_every_python_block_is_run():
    run = [block_of("Defend your own model"), *(block_of(OWN, number) for number in (0, 1))]
    run += [block_of("Where does it look under attack?", number) for number in (0, 1, 2)]
    run += [block_of("How robust is it really?", number) for number in (0, 1)]
    run += [block_of("Do attacks transfer?"), block_of("Attention inside a network")]
    assert blocks("python") == [*run, block_of("On many machines")]


def test_attention_inside_a_network(capsys):
    exec(compile(block_of("Attention inside a network"), "README.md", "exec"), {})
    printed = block_of("Attention inside a network").rpartition("# ")[2].strip()
    assert capsys.readouterr().out.strip() == printed


OWN = "Your own model and images"


@pytest.fixture(scope="module")
def own_directory(tmp_path_factory) -> Path:
    """A network that tells dark from light pictures in 0..255, and such pictures."""
    directory = tmp_path_factory.mktemp("own")
    generator = np.random.default_rng(0)
    network = small_network()
    conv, dense = network.layers[0], network.layers[-1]
    # Its first feature is the mean of red; classes lie below 79.5, above 159.5, and between.
    kernel = np.zeros((4, 4, 3, 4), np.float32)
    kernel[:, :, 0, 0] = 1 / 16
    conv.set_weights([kernel, np.zeros(4)])
    weights = np.zeros((4, 3), np.float32)
    weights[0] = [0.0, 1.0, 2.0]
    dense.set_weights([weights, np.array([0.0, -79.5, -239.0])])
    network.save(directory / "my_network.keras")
    for level, folder in ((40, "dark"), (120, "middle"), (200, "pale")):
        (directory / "photos" / folder).mkdir(parents=True)
        for number in range(3):
            pixels = generator.integers(level - 9, level + 9, (40, 36, 3)).astype(np.uint8)
            if number == 2:
                # Half a gray level below the next class, if there is one.
                pixels[:] = level + 39
            path = directory / "photos" / folder / f"{number}.png"
            path.write_bytes(tf.io.encode_png(pixels).numpy())
    return directory


def test_ones_own_model_and_images_in_python(own_directory, monkeypatch, capsys):
    monkeypatch.chdir(own_directory)
    exec(compile(block_of(OWN), "README.md", "exec"), {})
    assert "77.78%" in capsys.readouterr().out
    assert (own_directory / "pictures.png").read_bytes().startswith(b"\x89PNG")


def test_ones_own_model_is_defended_saved_and_exported(own_directory, monkeypatch):
    monkeypatch.chdir(own_directory)
    names: dict[str, object] = {}
    exec(compile(block_of(OWN, 1).replace("epochs=8", "epochs=1"), "README.md", "exec"), names)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    logits = names["model"].classifier(images).logits
    loaded = keras.saving.load_model("defended.keras").classifier
    assert loaded.bounds == (0, 255)
    np.testing.assert_allclose(loaded(images).logits, logits, rtol=1e-5)
    served = tf.saved_model.load("defended").signatures["serving_default"]
    np.testing.assert_allclose(served(images=tf.constant(images))["logits"], logits, rtol=1e-5)


def test_ones_own_model_and_images_from_the_shell(own_directory):
    section = TEXT.split(f"## {OWN}")[1]
    text = re.findall(r"^```sh\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE)[0]
    commands = [command[2:] for command in shell_commands(text)]
    robustness, pictures, attention = run_each(commands, directory=own_directory)
    for done in (robustness, pictures, attention):
        assert done.code == 0, done.errors
        assert "my_network.keras, 3 classes, images of 32 x 32 x 3 in [0, 255]" in done.errors
        assert " images of photos" in done.errors
    (fgsm, pgd) = read_summary(own_directory / "mine.jsonl.gz")["attacks"]
    assert fgsm["clean_accuracy"] == 1.0
    # One gray level moves those that lie within it of another class.
    assert fgsm["robust_accuracy"] == pgd["robust_accuracy"] == pytest.approx(7 / 9)
    assert (own_directory / "mine.png").read_bytes().startswith(b"\x89PNG")
    summary = read_summary(own_directory / "attention.jsonl.gz", "study")
    assert summary["class_names"] == ["dark", "middle", "pale"]
    assert summary["counts"]["right"] == 9


@pytest.fixture(scope="module")
def parsed() -> dict[tuple[str, ...], Run]:
    """How each command ends if it only parses its flags, and train.main those behind `--`."""
    commands = []
    for command in shell_commands():
        if command[:2] == ["python", "-m"]:
            program, *arguments = command[2:]
            end = arguments.index("--") if "--" in arguments else len(arguments)
            commands.append([program, "--only_check_args", *arguments[:end]])
            if arguments[end:]:
                commands[-1] += arguments[end:]
                commands.append(["train.main", "--only_check_args", *arguments[end + 1 :]])
    return dict(zip(map(tuple, commands), run_each(commands), strict=True))


def test_flags_of_commands_are_parsed(parsed):
    assert len(parsed) > 10
    for command, found in parsed.items():
        assert (found.code, found.errors) == (0, ""), command


@pytest.mark.parametrize("command", shell_commands(), ids=" ".join)
def test_a_command_is_one_of_make_or_of_python(command):
    if command[0] == "make":
        makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{command[1]}:", makefile, flags=re.MULTILINE)
    else:
        assert command[:2] == ["python", "-m"]


def test_stated_minutes_are_those_of_the_records():
    (stated,) = re.findall(
        r"Training took (\d+) minutes on one CPU core, the evaluation that follows (\d+)\.", TEXT
    )
    run, summary = (
        json.loads((REPOSITORY / "results" / path).read_text(encoding="utf-8"))
        for path in ("runs/mnist_aad_step_ll/run.json", "robustness/mnist_aad_step_ll.summary.json")
    )
    measured = (run["seconds"], sum(entry["seconds"] for entry in summary["attacks"]))
    assert stated == tuple(f"{seconds / 60:.0f}" for seconds in measured)
    assert [start["cpu_cores"] for start in run["starts"]] == [1]


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
