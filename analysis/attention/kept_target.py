"""Where a further round of StepLL undoes successes: the same with the target kept over rounds."""

from __future__ import annotations

import numpy as np

from aad_tf.records.columns import AttentionRecords
from analysis.attention import intervals
from analysis.attention.aligned import common_images
from analysis.attention.caption import single_splits
from analysis.attention.intervals import Estimate


def kept_target_notes(run: AttentionRecords, kept: AttentionRecords, link: str) -> list[str]:
    """A note for each round in which success falls, beside what happens with the target kept.

    Args:
        run: images under StepLL, its target chosen anew in each round.
        kept: the same network under StepLL towards one target.
        link: page of the latter.

    Returns:
        Nothing where success does not fall for certain.

    Raises:
        ValueError: records that cannot be compared.
    """
    falls = [k for k in range(2, min(run.rounds, kept.rounds) + 1) if _fallen(_gain(run, k))]
    if not falls:
        return []
    ours, theirs = common_images([run, kept])
    splits = " and ".join(name for name, _ in single_splits(ours))
    return [_note(ours, theirs, k, (splits, link)) for k in falls]


def _note(ours: AttentionRecords, theirs: AttentionRecords, k: int, where: tuple[str, str]) -> str:
    splits, link = where
    (before, after), (kept_before, kept_after) = (
        [100 * run.succeeded(number).mean() for number in (k - 1, k)] for run in (ours, theirs)
    )
    gain = _gain(theirs, k)
    conclusion = ""
    if gain.interval is not None and gain.interval.low > 0:
        conclusion = ": choosing the target anew undoes part of what the round before had reached"
    elif _fallen(gain):
        conclusion = ": choosing the target anew is not all there is to the fall"
    return (
        f"Success falls from round {k - 1} to {k} where the target is chosen anew in each round: "
        f"{before:.1f} % to {after:.1f} % of the {len(ours):,} images of {splits} that were "
        f"attacked both ways. With the target kept success goes {kept_before:.1f} % to "
        f"{kept_after:.1f} %, {gain.percent(sign=True)} points ([that table]({link})){conclusion}."
    )


def _gain(run: AttentionRecords, k: int) -> Estimate:
    """What round k adds to the share of successes."""
    succeeded = (run.succeeded(number)[run.correct].astype(np.float64) for number in (k, k - 1))
    now, before = succeeded
    return intervals.mean(now - before)


def _fallen(gain: Estimate) -> bool:
    return gain.interval is not None and gain.interval.high < 0
