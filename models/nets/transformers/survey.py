"""The survey on visual transformers (Han et al. 2020, 2012.12556) as a table: its categories, and which networks of the
zoo have their place in them. The entry of each network in the zoo says where."""

from collections.abc import Mapping
from types import MappingProxyType

from ....common.errors import UserError

__all__ = ["SURVEY", "survey_category"]

SURVEY: Mapping[str, str] = MappingProxyType(
    {
        "backbone": "features of an image, or its class",
        "high-level": "high- and mid-level vision, from detection to segmentation",
        "low-level": "images out of images",
        "video": "images that follow each other",
        "efficient": "pruned, of low rank, distilled, quantised, compact",
        "self-attention": "attention by itself",
    }
)
"""The categories of the survey, a word for each, and what stands in them."""


def survey_category(word: str) -> str:
    """``word``, where it is a category of the survey; raises `UserError` with the list of them where it is none."""
    if word not in SURVEY:
        raise UserError(f"unknown category {word!r} of the survey; known: {', '.join(SURVEY)}")
    return word
