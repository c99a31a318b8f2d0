"""Data sets: the embedded digits, files and folders of the user's."""

from .arrays import Samples, samples
from .sets import DIGITS, SPLITS, Images, check_pixels, load

__all__ = ["DIGITS", "SPLITS", "Images", "Samples", "check_pixels", "load", "samples"]
