"""The package as it is shipped: metadata, typing marker, pins, and set-up errors."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import aad_tf

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHON_VERSIONS = ("3.10.13", "3.11.7", "3.12.1", "3.13.0")
SHIPPED = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
PACKAGES = ("aad_tf", "analysis", "binaries", "eval", "train")


def read_setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    return parser


def requirement_lines(text: str) -> list[Requirement]:
    lines = (line.strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def declared_requirements() -> dict[str, list[Requirement]]:
    """Requirements of setup.cfg by the group that declares them."""
    parser = read_setup()
    groups = {"install_requires": parser["options"]["install_requires"]}
    groups.update(parser["options.extras_require"])
    return {name: requirement_lines(text) for name, text in groups.items()}


def pins_for(python_version: str) -> dict[str, list[str]]:
    """Versions that constraints.txt gives each package on Linux under one Python version."""
    environment = {
        "python_full_version": python_version,
        "python_version": python_version.rpartition(".")[0],
        "sys_platform": "linux",
        "platform_python_implementation": "CPython",
    }
    pins: dict[str, list[str]] = {}
    for pin in requirement_lines((REPOSITORY / "constraints.txt").read_text(encoding="utf-8")):
        if pin.marker is None or pin.marker.evaluate(environment):
            (specifier,) = pin.specifier
            pins.setdefault(canonicalize_name(pin.name), []).append(specifier.version)
    return pins


def test_version_is_that_of_the_installed_distribution():
    assert aad_tf.__version__ == metadata.version("aad_tf")


def test_constraints_hold_exact_pins_and_nothing_else():
    for pin in requirement_lines((REPOSITORY / "constraints.txt").read_text(encoding="utf-8")):
        assert [specifier.operator for specifier in pin.specifier] == ["=="], pin
        assert pin.url is None, pin


@pytest.mark.parametrize("python_version", PYTHON_VERSIONS)
def test_constraints_cover_every_declared_dependency(python_version):
    pins = pins_for(python_version)
    for group, requirements in declared_requirements().items():
        for requirement in requirements:
            versions = pins.get(canonicalize_name(requirement.name), [])
            assert len(versions) == 1, f"{group}: {requirement} has pins {versions}"
            assert requirement.specifier.contains(versions[0]), f"{group}: {requirement}"


@pytest.mark.parametrize("python_version", PYTHON_VERSIONS)
def test_no_dependency_brings_in_another_framework(python_version):
    pins = pins_for(python_version)
    assert not {"torch", "jax", "tf-keras"} & pins.keys()
    assert not [name for name in pins if name.startswith("nvidia-")]


def test_python_range_matches_the_pinned_versions():
    specifiers = Requirement(f"python{read_setup()['options']['python_requires']}").specifier
    assert all(specifiers.contains(version) for version in PYTHON_VERSIONS)
    assert not specifiers.contains("3.9.18")
    assert not specifiers.contains("3.14.0")


def test_the_oldest_versions_that_are_tested_are_the_oldest_allowed():
    (line,) = re.findall(r"^OLDEST_PINS := (.*)$", (REPOSITORY / "Makefile").read_text(), re.M)
    declared = {each.name: each for each in declared_requirements()["install_requires"]}
    for pin in map(Requirement, line.split()):
        (version,) = [each.version for each in pin.specifier]
        lowest = [each.version for each in declared[pin.name].specifier if each.operator == ">="]
        assert Version(version) == Version(*lowest), pin.name


def test_wheel_ships_the_typing_marker_and_every_module(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in SHIPPED:
        if (REPOSITORY / name).exists():
            shutil.copy(REPOSITORY / name, source)
    for name in PACKAGES:
        if (REPOSITORY / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / name, source / name, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(command, check=True, cwd=tmp_path)

    (wheel,) = tmp_path.glob("aad_tf-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
    modules = {
        path.relative_to(REPOSITORY).as_posix()
        for name in PACKAGES
        for path in (REPOSITORY / name).rglob("*.py")
    }
    assert "aad_tf/py.typed" in shipped
    assert modules - shipped == set()
    assert not [name for name in shipped if name.startswith(("tests/", "benchmarks/"))]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_says_which_python_it_needs(tmp_path):
    environment = tmp_path / "environment"
    command = ["make", "PYTHON=false", f"VENV={environment}", "demo"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode != 0
    assert "Python 3.10, 3.11, 3.12 or 3.13" in result.stderr
    assert "make PYTHON=" in result.stderr
    assert not environment.exists()


@pytest.mark.parametrize("document", ["README.md", "WORKSPACE.md", "CONTRIBUTING.md"])
def test_files_that_documents_name_exist(document: str) -> None:
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:\w+/)[\w./-]+\.(?:py|md|sh|ya?ml|json|png))(?::\w+)?`", text))
    assert named
    assert not [name for name in sorted(named) if not (REPOSITORY / name).exists()]


# Words that CONTRIBUTING.md asks to say in the field's terms, and "an image" for "per image".
_THINGS = (
    "image|step|class|batch|epoch|round|attack|worker|replica|example|row|cell|line|record|process"
    "|machine|node|layer|device|data set|pixel|file|network"
)
_COUNTED = (
    "row|line|file|record|worker|value|seed|figure|image|step|update|attack|process|pod|network"
)
OTHER_WORDS = re.compile(
    r"\b(doors?|cards?|strangers?|newcomers?|gathering|rivals|forgiv\w+|crews?|peace|last words"
    r"|beats?|of ours)\b"
    rf"|\b(one|once|twice) (({_COUNTED}) )?an? ({_THINGS})\b"
    rf"|\ban? ({_COUNTED}) an? ({_THINGS})\b"
    r"|\b(gradients|updates|steps|images|queries) an? (image|example|step|round|epoch|batch)\b",
    re.IGNORECASE,
)


def test_code_and_documents_speak_the_words_of_the_field():
    files = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("train/launch/*.[sy]*")]
    files += [
        REPOSITORY / "Makefile",
        REPOSITORY / "setup.cfg",
        REPOSITORY / "train/launch/Dockerfile",
    ]
    for folder in (*PACKAGES, "benchmarks", "tests"):
        files += (REPOSITORY / folder).rglob("*.py")
    found = [
        f"{path.relative_to(REPOSITORY)}:{number}: {match[0]}"
        for path in sorted(files)
        if path.name != "CHANGELOG.md" and path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if (match := OTHER_WORDS.search(line))
    ]
    assert len(files) > 350 and found == []
