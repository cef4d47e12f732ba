"""Attention records written by hand."""

from tests.attention_records import record, results, write

__all__ = ["record", "results", "write"]
