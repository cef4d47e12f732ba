"""Picture galleries of attention under attack, whose examples rules choose from records."""

from eval.galleries.gallery import GALLERIES, Gallery, gallery_of, make_gallery
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
