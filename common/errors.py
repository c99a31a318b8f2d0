"""The one error type for users' mistakes, and a check that many arguments have in common."""

__all__ = ["UserError", "positive"]


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
