"""How robust a classifier is: streamed, resumable evaluation under attacks."""

from aad_tf.evaluation.journal import journal_path
from aad_tf.evaluation.merging import merge_shards
from aad_tf.evaluation.progress import Progress, ProgressLine
from aad_tf.evaluation.robustness import RobustnessReport, evaluate_robustness
from aad_tf.evaluation.shards import parse_shard, shard_output, shard_range
from aad_tf.evaluation.summary import SUCCESS_RULES, format_summary

__all__ = [
    "SUCCESS_RULES",
    "Progress",
    "ProgressLine",
    "RobustnessReport",
    "evaluate_robustness",
    "format_summary",
    "journal_path",
    "merge_shards",
    "parse_shard",
    "shard_output",
    "shard_range",
]
