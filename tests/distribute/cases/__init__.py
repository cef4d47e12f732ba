"""What each process of a distributed test does; the same code runs alone and on many workers."""

from tests.distribute.cases import defenses, habits, updates
from tests.distribute.cases.common import Arrays
from tests.distribute.cases.interruption import cut_in_validation, disagreement

CASES = {
    case.__name__: case
    for case in (
        defenses.plain,
        defenses.aad_first_steps,
        defenses.aad_float64,
        defenses.batch_normalization,
        defenses.statistics_of_one_step,
        defenses.other_defenses,
        habits.randomness,
        habits.keras_habits,
        updates.clipped_and_weighted,
        updates.loss_scale,
        updates.refusals,
        habits.callbacks,
        habits.stopping,
        habits.agreement,
        cut_in_validation,
        disagreement,
        updates.empty_replica,
    )
}
# Cases that no test looks at, by kind of strategy.
LEFT_OUT = {
    "multi_worker": {"empty_replica"},
    "mirrored": {"other_defenses", "callbacks", "stopping", "agreement", "disagreement"},
    "none": {"other_defenses", "agreement", "empty_replica"},
}

__all__ = ["CASES", "LEFT_OUT", "Arrays"]
