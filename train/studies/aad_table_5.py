"""What the studies of [AAD Table 5] have in common."""

from __future__ import annotations

from collections.abc import Mapping

from train.studies.study import Evaluation, Study, Training

STRICT_IMAGES = 1000


def study(
    dataset: str,
    reference: str,
    minutes: Mapping[str, float],
    strict: str,
    *,
    strict_of: Mapping[str, str] | None = None,
    sources: Mapping[str, float] | None = None,
    options: Mapping[str, str] | None = None,
    seeds: int = 1,
) -> Study:
    """A study of presets of one file: by any and by the last iterate, and under strict attacks.

    All networks of one seed are trained before those of the next one.

    Args:
        dataset: name of the file of presets in `train/configs`, and of the data set.
        reference: what the study reproduces, and with what budget, in words.
        minutes: the presets in the order of training, and about how long each takes on one core.
        strict: the strict attacks, as `eval.robustness --attacks` takes them, on fewer images.
        strict_of: others in their place, by preset.
        sources: presets that are trained, and not evaluated, since others attack their networks,
            with minutes.
        options: values of flags of `train.main` for all of them.
        seeds: how often each preset is trained.

    Returns:
        The study. Names of the first seed are `<dataset>_<preset>`, the others end with
        `_seed_<number>`.
    """
    trainings: list[Training] = []
    evaluations: list[Evaluation] = []
    for seed in range(seeds):
        for preset, cost in {**(sources or {}), **minutes}.items():
            name = f"{dataset}_{preset}" + (f"_seed_{seed}" if seed else "")
            chosen = {**(options or {}), **({"config.seed": str(seed)} if seed else {})}
            config = f"train/configs/{dataset}.py:{preset}"
            trainings.append(Training(name, config, chosen, cost))
            if preset in minutes:
                evaluations += _evaluations(name, (strict_of or {}).get(preset, strict))
    return Study(reference, tuple(trainings), tuple(evaluations))


def _evaluations(network: str, strict: str) -> list[Evaluation]:
    kinds = {
        "": {},
        "_last_iterate": {"success": "last_iterate"},
        "_auto_attack": {"limit": str(STRICT_IMAGES), "attacks": strict},
    }
    return [
        Evaluation(f"robustness/{network}{kind}.jsonl.gz", (network,), options)
        for kind, options in kinds.items()
    ]
