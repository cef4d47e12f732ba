"""Figures of [AAD] on attention under attack, whose examples rules choose from records.

This is an application of the library: `aad_tf.attention` computes maps, `aad_tf.attention_study`
measures them over a data set and writes records, `aad_tf.plots` draws images and maps. Here
`paper_figures` says for each figure of the paper which images of the records it shows, and
`make_gallery` draws it. `eval.attention_gallery` is the command.
"""

from eval.galleries.gallery import make_gallery
from eval.galleries.paper_figures import GALLERIES, Gallery, gallery_of
from eval.galleries.replay import Source
from eval.galleries.studies import Study, read_study

__all__ = [
    "GALLERIES",
    "Gallery",
    "Source",
    "Study",
    "gallery_of",
    "make_gallery",
    "read_study",
]
