"""The one error type for users' mistakes."""

__all__ = ["UserError"]


class UserError(Exception):
    """A mistake of the user, told in one clear line: what was expected, what came, where.

    The command line prints the message without a traceback and exits with ``exit_code``.
    """

    def __init__(self, message: str, *, exit_code: int = 1):
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code
