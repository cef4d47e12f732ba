"""Attention studies: the attention maps of a data set, without attack and after each iteration.

`study_attention` writes one record per image, with predictions, maps, their overlap with object
boxes and with the maps of the original image. A *round* is one iteration of the attack; round 0 is
the original image.
"""

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
