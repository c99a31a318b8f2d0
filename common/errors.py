"""The one error type for users' mistakes, and checks that many arguments have in common."""

import math

__all__ = ["UserError", "positive", "within"]


class UserError(Exception):
    """A mistake of the user, told in one clear line: what was expected, what came, where.

    The command line prints the message without a traceback and exits with ``exit_code``.
    """

    def __init__(self, message: str, *, exit_code: int = 1):
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code


def positive(name: str, value: int | None) -> int | None:
    """``value``, which may be missing; raises `UserError` where it is below 1."""
    if value is not None and value < 1:
        raise UserError(f"{name} must be a positive integer, not {value}")
    return value


def within(name: str, value: float, least: float, most: float, *, whole: bool = False) -> None:
    """Raise `UserError` unless ``value``, called ``name``, is a number in ``least`` .. ``most``.

    Parameters
    ----------
    whole : whether it must be an integer
    """
    kinds = (int,) if whole else (int, float)
    if type(value) in kinds and math.isfinite(value) and least <= value <= most:
        return
    what = "an integer" if whole else "a number"
    raise UserError(f"{name} must be {what} in {least}..{most}, not {value!r}")
