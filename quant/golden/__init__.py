"""The golden model: what a Program computes, in integers, bit for bit."""

from .execute import Result, WidthError, run

__all__ = ["Result", "WidthError", "run"]
