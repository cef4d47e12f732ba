"""Images with bounding boxes: their format, batches of them, and conversion from other formats."""

from __future__ import annotations

from aad_tf.data.boxes.formats import PADDING, check_boxes, object_masks

__all__ = ["PADDING", "check_boxes", "object_masks"]
