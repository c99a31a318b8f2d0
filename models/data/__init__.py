"""Data sets: the embedded digits, files and folders of the user's."""

from .sets import DIGITS, Images, check_pixels, load

__all__ = ["DIGITS", "Images", "check_pixels", "load"]
