"""How robust a classifier is: streamed, resumable evaluation under attacks.

`evaluate_robustness` measures one network, `evaluate_transfer` several on each other's adversarial
images, and `evaluate_gates` one with CBAM against copies that hold its gates. `security_curve` and
`bisected_curve` give accuracy against epsilon; `merge_shards` and `merge_transfer` join evaluations
that were divided into parts.
"""

from aad_tf.evaluation.curves import bisected_curve, security_curve
from aad_tf.evaluation.gates import evaluate_gates, format_gates
from aad_tf.evaluation.merging import merge_shards, merge_transfer
from aad_tf.evaluation.robustness import RobustnessReport, evaluate_robustness
from aad_tf.evaluation.summary import SUCCESS_RULES, format_summary
from aad_tf.evaluation.transfer import TransferReport, evaluate_transfer
from aad_tf.evaluation.transfer_summary import format_transfer
from aad_tf.records.journal import journal_path
from aad_tf.records.progress import Progress
from aad_tf.records.shards import parse_shard, shard_output, shard_range

__all__ = [
    "bisected_curve",
    "SUCCESS_RULES",
    "Progress",
    "RobustnessReport",
    "TransferReport",
    "evaluate_gates",
    "evaluate_robustness",
    "evaluate_transfer",
    "format_gates",
    "format_summary",
    "format_transfer",
    "journal_path",
    "merge_shards",
    "merge_transfer",
    "parse_shard",
    "security_curve",
    "shard_output",
    "shard_range",
]
