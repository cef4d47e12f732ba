"""Networks on disk: SavedModels that run without this package, and `.keras` files."""

from aad_tf.export.files import ExportError
from aad_tf.export.loading import ExportedClassifier, load_classifier
from aad_tf.export.saving import export_saved_model, save_network

__all__ = [
    "ExportError",
    "ExportedClassifier",
    "export_saved_model",
    "load_classifier",
    "save_network",
]
