"""Networks on disk: SavedModels that run without this package, and `.keras` files."""

from aad_tf.export.saved_model import (
    ExportedClassifier,
    ExportError,
    export_saved_model,
    load_classifier,
    save_network,
)

__all__ = [
    "ExportError",
    "ExportedClassifier",
    "export_saved_model",
    "load_classifier",
    "save_network",
]
