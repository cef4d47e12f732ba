"""Presets say what `presets.json` beside this file says: no published number changes unseen.

After a change that is meant, write the file again and read the difference before committing it:

    python -m tests.training.test_presets
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import train.configs
from aad_tf import configs
from aad_tf.configs import ExperimentConfig

GOLDEN = Path(__file__).with_name("presets.json")
# For readers: nothing is computed from them.
TEXTS = ("name", "reference", "budget")
DEFAULTS = "defaults of ExperimentConfig"


def preset_modules() -> dict[str, Any]:
    """Modules of `train/configs` that hold presets, by name."""
    names = [module.name for module in pkgutil.iter_modules(train.configs.__path__)]
    modules = {name: importlib.import_module(f"train.configs.{name}") for name in sorted(names)}
    return {name: module for name, module in modules.items() if hasattr(module, "PRESETS")}


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted key, as JSON gives them back; options of free keys stay whole."""
    found = {}
    for key, value in values.items():
        if key == "defense":
            found |= flat(value, f"{key}.")
        elif key not in TEXTS:
            found[prefix + key] = json.loads(json.dumps(value))
    return found


def current() -> dict[str, dict[str, Any]]:
    """Every preset by file and name: the fields in which it differs from the defaults."""
    defaults = flat(configs.to_dict(ExperimentConfig()))
    found = {DEFAULTS: defaults}
    for file, module in preset_modules().items():
        for name in module.PRESETS:
            fields = flat(module.get_config(name).to_dict())
            found[f"train/configs/{file}.py:{name}"] = {
                key: value for key, value in fields.items() if value != defaults[key]
            }
    return found


CURRENT = current()
RECORDED = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.is_file() else {}


@pytest.mark.parametrize("preset", sorted(CURRENT.keys() | RECORDED.keys()))
def test_a_preset_is_what_is_recorded(preset: str) -> None:
    now, recorded = CURRENT.get(preset), RECORDED.get(preset)
    rewrite = (
        "If that is meant, run `python -m tests.training.test_presets` and commit "
        "tests/training/presets.json."
    )
    if now is None or recorded is None:
        place = "train/configs" if now is None else "tests/training/presets.json"
        pytest.fail(f"{preset} is missing in {place}. {rewrite}", pytrace=False)
    now_whole, recorded_whole = CURRENT[DEFAULTS] | now, RECORDED[DEFAULTS] | recorded
    # A field that is a default here and there is the case of the defaults.
    changes = [
        f"{key} is {now_whole.get(key)!r}, was {recorded_whole.get(key)!r}"
        for key in sorted(now.keys() | recorded.keys())
        if now_whole.get(key) != recorded_whole.get(key)
    ]
    if changes:
        pytest.fail(f"{preset}: {'; '.join(changes)}. {rewrite}", pytrace=False)


@pytest.mark.parametrize("file", preset_modules())
def test_presets_are_valid_configs_of_their_data_set(file: str) -> None:
    module = preset_modules()[file]
    for name in module.PRESETS:
        config = configs.from_dict(module.get_config(name).to_dict())
        assert config.name == name
        assert config.evaluation_attacks
        assert config.reference and config.budget
        # A reduced experiment may run on smaller data.
        of_file = file in (config.dataset, f"{config.dataset}_{file.rpartition('_')[2]}")
        assert of_file or name.startswith("small") or f"{config.dataset}_" in name


def test_an_unknown_preset_lists_the_near_ones() -> None:
    module = preset_modules()["mnist"]
    with pytest.raises(ValueError, match="Unknown preset 'aad_stepll'.*'aad_step_ll'"):
        module.get_config("aad_stepll")


def main() -> None:
    """Writes the file, a line per field."""
    presets = []
    for preset, fields in CURRENT.items():
        lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in fields.items()]
        presets.append(f" {json.dumps(preset)}: {{\n" + ",\n".join(lines) + "\n }")
    GOLDEN.write_text("{\n" + ",\n".join(presets) + "\n}\n", encoding="utf-8")
    print(f"{GOLDEN}: {len(CURRENT) - 1} presets")


if __name__ == "__main__":
    main()
