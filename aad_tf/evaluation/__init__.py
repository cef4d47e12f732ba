"""How robust a classifier is: streamed, resumable evaluation under attacks."""

from aad_tf.evaluation.ledger import journal_path
from aad_tf.evaluation.progress import Progress, ProgressLine
from aad_tf.evaluation.robustness import RobustnessReport, evaluate_robustness

__all__ = [
    "Progress",
    "ProgressLine",
    "RobustnessReport",
    "evaluate_robustness",
    "journal_path",
]
