"""Whatever takes an attack takes its text, and does the same with it."""

from __future__ import annotations

import io

import keras
import numpy as np
import pytest

from aad_tf import AADModel, AdversarialModel, EnsembleAdversarialModel
from aad_tf.attacks import a3, fgsm
from aad_tf.attention_study import Options, study_attention
from aad_tf.callbacks import AttentionIoU, AttentionSnapshots, RobustAccuracy
from aad_tf.classifier import Classifier
from aad_tf.evaluation import evaluate_robustness
from aad_tf.plots import compare_networks
from tests.networks import random_images, small_network

TEXT, ATTACK = "fgsm(epsilon=51/255)", fgsm(0.2)
LABELS = np.array([0, 1, 2, 0])


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.from_keras(small_network())


def study(classifier, attack, directory) -> bytes:
    output = directory / "records.jsonl"
    options = Options(methods=("grad_cam",), cells=(4,))
    data = (random_images(), LABELS)
    study_attention(classifier, data, attack, output=output, batch_size=4, options=options)
    return output.read_bytes()


def pixels(figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, dpi=40)
    return stream.getvalue()


def data():
    return random_images(), LABELS


def ensemble(classifier, attack, directory):
    sources = [classifier.model]
    return EnsembleAdversarialModel(small_network(seed=1), sources=sources, attack=attack).attack


TAKERS = {
    "a3": lambda classifier, attack, directory: a3(attack, 3.0),
    "evaluate_robustness": lambda classifier, attack, directory: [
        {**record, "attack": None}
        for record in evaluate_robustness(classifier, data(), attack).records()
    ],
    "evaluate_robustness, several": lambda classifier, attack, directory: [
        {**record, "attack": None}
        for record in evaluate_robustness(classifier, data(), [fgsm(0.1), attack]).records()
    ],
    "study_attention": study,
    "compare_networks": lambda classifier, attack, directory: pixels(
        compare_networks({"one": classifier}, *data(), attack)
    ),
    "RobustAccuracy": lambda classifier, attack, directory: RobustAccuracy(data(), attack).evaluate(
        classifier
    ),
    "AttentionIoU": lambda classifier, attack, directory: AttentionIoU(data(), attack).evaluate(
        classifier
    ),
    "AttentionSnapshots": lambda classifier, attack, directory: pixels(
        AttentionSnapshots(*data(), directory, attack).draw(classifier)
    ),
    "AdversarialModel": lambda classifier, attack, directory: (
        AdversarialModel(small_network(), attack=attack).attack
    ),
    "AADModel": lambda classifier, attack, directory: (
        AADModel(small_network(), attack=attack).attack
    ),
    "EnsembleAdversarialModel": ensemble,
}


@pytest.mark.parametrize("taker", TAKERS)
def test_text_does_what_its_attack_does(taker, classifier, tmp_path):
    found = []
    for number, attack in enumerate((TEXT, ATTACK)):
        directory = tmp_path / str(number)
        directory.mkdir()
        keras.utils.set_random_seed(0)
        found.append(TAKERS[taker](classifier, attack, directory))
    assert found[0] == found[1]


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize(
    ("attack", "error", "message"),
    [
        ("fgms(0.1)", ValueError, "Unknown attack 'fgms'. Did you mean 'fgsm'"),
        (0.1, TypeError, "attack must be an? .*got 0.1"),
    ],
)
def test_what_is_no_attack_is_refused(taker, attack, error, message, classifier, tmp_path):
    with pytest.raises(error, match=message):
        TAKERS[taker](classifier, attack, tmp_path)
