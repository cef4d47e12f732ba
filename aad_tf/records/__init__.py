"""Records and summaries that evaluations write to files, and functions that read them."""

from aad_tf.records.io import (
    RECORD_KEYS,
    TRANSFER_KEYS,
    make_record,
    read_record_lines,
    read_records,
    read_summary,
    record_line,
    summary_path,
    write_record_lines,
)

__all__ = [
    "RECORD_KEYS",
    "TRANSFER_KEYS",
    "make_record",
    "read_record_lines",
    "read_records",
    "read_summary",
    "record_line",
    "summary_path",
    "write_record_lines",
]
