"""The former name of what is now `aad_tf.records` and `aad_tf.utils.files`; import from there."""

from aad_tf.records import (
    RECORD_KEYS,
    read_record_lines,
    read_records,
    read_summary,
    summary_path,
)
from aad_tf.utils.files import (
    PathLike,
    check_writable,
    write_atomically,
    write_json_atomically,
)

__all__ = [
    "RECORD_KEYS",
    "PathLike",
    "check_writable",
    "read_record_lines",
    "read_records",
    "read_summary",
    "summary_path",
    "write_atomically",
    "write_json_atomically",
]
