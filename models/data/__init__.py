"""Data sets: the embedded digits, files and folders of the user's."""

from .arrays import Samples, samples
from .pictures import check_pixels
from .sets import DIGITS, SPLITS, Images, load

__all__ = ["DIGITS", "SPLITS", "Images", "Samples", "check_pixels", "load", "samples"]
