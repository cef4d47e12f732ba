"""Images with bounding boxes: their form, streams of them, other people's data brought to it."""

from __future__ import annotations

from aad_tf.data.boxes.formats import (
    CANONICAL,
    FORMATS,
    PADDING,
    canonical_boxes,
    check_boxes,
    object_masks,
)

__all__ = ["CANONICAL", "FORMATS", "PADDING", "canonical_boxes", "check_boxes", "object_masks"]
