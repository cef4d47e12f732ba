"""Images with bounding boxes: their form, streams of them, other people's data brought to it."""

from __future__ import annotations

from aad_tf.data.boxes.formats import PADDING, check_boxes, object_masks

__all__ = ["PADDING", "check_boxes", "object_masks"]
