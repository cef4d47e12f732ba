"""A run of two workers that is hurt again and again ends as the run that was left alone.

Progress is read from checkpoints, never from what workers print. The run that is left alone is
started by train.local_cluster.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import model_directory
from aad_tf.attention import grad_cam
from tests.binaries.clusters import HEARTBEATS, Cluster, assert_all_name
from tests.forked import ROOT, SECONDS
from tests.networks import random_images

SEED = 0
SIDE = 8
"""Height and width of the images."""
EPOCHS, STEPS, EVERY = 4, 20, 4
FLAGS = [
    "--config=train/configs/digits.py:clean",
    f"--config.epochs={EPOCHS}",
    f"--config.train_examples={20 * STEPS}",
    "--config.batch_size=20",
    f"--config.image_size={SIDE}",
    f"--config.checkpoint_steps={EVERY}",
    "--config.validation_examples=31",
]
DAMAGED = "worker killed and newest checkpoint damaged"
WAYS = {
    "worker asked to end": (1, signal.SIGTERM, HEARTBEATS),
    "chief killed": (0, signal.SIGKILL, HEARTBEATS),
    "worker stopped": (1, signal.SIGSTOP, 6.0),
    DAMAGED: (1, signal.SIGKILL, HEARTBEATS),
}
"""What is done to the run: the worker that gets a signal, and seconds after which it is lost."""


def checkpoints(directory: Path, since: int = 0) -> list[tuple[str, int]]:
    """Paths of checkpoints saved after a time (ns), oldest first, with the steps done by then."""
    folder = directory / model_directory.CHECKPOINTS
    # TensorFlow's own reader asks for the size of the state file by its name and reads so much of
    # the file that it opened: cut short where a worker replaced the file in between.
    try:
        state = (folder / "checkpoint").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    found = []
    for name in re.findall(r'^all_model_checkpoint_paths: "(.+)"$', state, re.MULTILINE):
        path = os.fspath(folder / name)
        try:
            if os.stat(f"{path}.index").st_mtime_ns > since:
                reader = tf.train.load_checkpoint(path)
                epoch, step = (
                    int(reader.get_tensor(f"{name}/.ATTRIBUTES/VARIABLE_VALUE"))
                    for name in ("epoch", "step")
                )
                found.append((path, epoch * STEPS + step))
        except (OSError, tf.errors.OpError):  # Deleted or replaced since it was listed.
            continue
    return found


def truncate_newest(directory: Path) -> None:
    """Cuts the newest checkpoint's values to half."""
    data = Path(f"{checkpoints(directory)[-1][0]}.data-00000-of-00001")
    os.truncate(data, data.stat().st_size // 2)


def hurt(directory: Path, how: str, generator: random.Random, resumes_at: int) -> int:
    """Starts the workers, hurts one at a random moment, and waits until the other has ended.

    Args:
        directory: model directory.
        how: one of WAYS.
        generator: draws the moment.
        resumes_at: steps that the newest readable checkpoint holds.

    Returns:
        Steps that the newest readable checkpoint holds now.
    """
    victim, number, lost_after = WAYS[how]
    with Cluster(directory, 2, *FLAGS, f"--lost_after={lost_after}") as cluster:

        def saved() -> list[int]:
            return [steps for _, steps in checkpoints(directory, cluster.began)]

        cluster.wait_for(lambda: bool(saved()))
        # It has gone on from where it was. An epoch's end is saved before and after validation.
        at_end = resumes_at > 0 and resumes_at % STEPS == 0
        assert saved()[0] >= resumes_at + (not at_end), cluster.workers[0].output
        step = saved()[0] + generator.choice((0, EVERY))
        seconds = generator.uniform(0.0, 0.1)
        print(f"{how}: {seconds:.3f} s after the checkpoint of step {step}")
        cluster.wait_for(lambda: max(saved()) >= step)
        time.sleep(seconds)
        cluster.workers[victim].signal(number)
        if number == signal.SIGTERM:
            for worker in cluster.workers:
                code, output = worker.end()
                assert code == 128 + signal.SIGTERM and "training is saved" in output, output
        else:
            survivor = cluster.workers[1 - victim]
            assert_all_name([survivor], f"worker {victim}", time.monotonic(), lost_after)
    if how == DAMAGED:
        truncate_newest(directory)
        return checkpoints(directory)[-2][1]
    return checkpoints(directory)[-1][1]


def assert_exported(directory: Path) -> None:
    """The SavedModel of a run of two workers gives the attention and logits of its network."""
    classifier, _ = model_directory.load_classifier(directory)
    signatures = tf.saved_model.load(str(directory / model_directory.SAVED_MODEL)).signatures
    images, class_ids = random_images(2, (SIDE, SIDE, 1)), tf.constant([3, 5])
    found = signatures["attention"](images=tf.constant(images), class_ids=class_ids)
    expected = grad_cam(classifier, images, class_ids)
    np.testing.assert_allclose(found["attention_map"], expected, rtol=1e-4, atol=1e-5)
    logits = signatures["serving_default"](images=tf.constant(images))["logits"]
    np.testing.assert_allclose(logits, classifier.predict_logits(images), rtol=1e-4, atol=1e-4)


def run_to_the_end(directory: Path) -> str:
    """What the workers print that finish a run."""
    with Cluster(directory, 2, *FLAGS) as cluster:
        ended = [worker.end() for worker in cluster.workers]
    assert [code for code, _ in ended] == [0, 0], ended
    return "".join(output for _, output in ended)


def run_alone(directory: Path) -> None:
    """Trains as a user does, with nothing in its way."""
    command = [sys.executable, "-m", "train.local_cluster", "--workers=2", "--"]
    flags = [*FLAGS, f"--model_dir={directory}"]
    subprocess.run([*command, *flags], cwd=ROOT, check=True, timeout=3 * SECONDS)


def hurt_again_and_again(directory: Path) -> None:
    """Trains to the end on a way with everything in it."""
    generator = random.Random(SEED)
    print(f"seed {SEED}")
    steps = 0
    ways = [way for way in WAYS if way != DAMAGED]
    # Damage comes last, so that the run to the end begins at the checkpoint before.
    for how in [*generator.sample(ways, len(ways)), DAMAGED]:
        steps = hurt(directory, how, generator, steps)
    assert 0 < steps < EPOCHS * STEPS
    assert "trying the one before" in run_to_the_end(directory)


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.timeout(6 * SECONDS)
def test_a_run_survives_kills_stops_and_damage_bit_for_bit(tmp_path: Path) -> None:
    alone, hurt_often = tmp_path / "alone", tmp_path / "hurt"
    # The run that is hurt waits most of the time.
    with ThreadPoolExecutor() as threads:
        done = threads.submit(run_alone, alone)
        hurt_again_and_again(hurt_often)
        done.result()
    assert_exported(alone)
    weights, expected = (
        model_directory.load_network(path).get_weights() for path in (hurt_often, alone)
    )
    for found, wanted in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    histories = [
        np.genfromtxt(path / model_directory.HISTORY, delimiter=",", names=True)
        for path in (hurt_often, alone)
    ]
    assert histories[0].dtype.names == histories[1].dtype.names
    # Means over an epoch that was interrupted are rounded once more: workers' parts are added up.
    for column in histories[1].dtype.names:
        np.testing.assert_allclose(histories[0][column], histories[1][column], rtol=1e-6)
