"""The whole story on embedded data: train, attack, look, export, load back.

python -m train.demo --output_dir=demo_output
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags, logging

from aad_tf.demo import run_demo
from aad_tf.utils.logging import show_progress

_OUTPUT = flags.DEFINE_string("output_dir", "demo_output", "Where models and pictures go.")


def main(argv: list[str]) -> None:
    """Runs the demo; a mistake of the user's ends in one line and exit code 2."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}.")
    from train.configs import digits

    show_progress()
    presets = {"plain": digits.PRESETS["clean"], "AAD": digits.PRESETS["aad_step_ll"]}
    try:
        print(run_demo(presets, Path(_OUTPUT.value)))
    except (ValueError, OSError) as error:
        logging.debug("Details", exc_info=True)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(main)
