"""Where a classifier looks and how that changes under attack, over a whole data set."""

from aad_tf.attention_study.explain import METHODS, Options
from aad_tf.attention_study.faithfulness import Faithfulness
from aad_tf.attention_study.records import format_summary, merge_shards
from aad_tf.attention_study.study import StudyReport, study_attention
from aad_tf.records.shards import parse_shard, shard_range

__all__ = [
    "METHODS",
    "Faithfulness",
    "Options",
    "StudyReport",
    "format_summary",
    "merge_shards",
    "parse_shard",
    "shard_range",
    "study_attention",
]
