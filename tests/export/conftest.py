"""Networks exported once for all tests, and a copy that a test may damage."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import pytest

from aad_tf import export
from tests.export.exported_networks import classifier_of


@pytest.fixture(scope="session")
def artefact(tmp_path_factory):
    """Returns a function that exports a network once: classifier and path."""
    done = {}

    def export_once(name):
        if name not in done:
            classifier = classifier_of(name)
            path = tmp_path_factory.mktemp(name) / "model"
            done[name] = classifier, export.export_saved_model(classifier, path)
        return done[name]

    return export_once


@pytest.fixture(scope="session")
def loaded(artefact):
    """Returns a function that loads what `artefact` exported, once."""
    return functools.cache(lambda name: export.load_classifier(artefact(name)[1]))


@pytest.fixture
def exported(artefact, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(artefact("sequential")[1], tmp_path / "model"))
