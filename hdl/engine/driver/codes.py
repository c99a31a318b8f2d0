"""What a driver of an engine answers, in C and in Python: one table for both."""

from ....common.errors import UserError

__all__ = ["DRIVER_CODES", "OF_HARDWARE", "DriverError"]

DRIVER_CODES = {
    "OK": "done as asked",
    "BUSY": "a run goes on",
    "NO_ENGINE": "no addax engine answers at these registers",
    "OTHER_VERSION": "the engine has another version of the register map",
    "OTHER_BUILD": "the engine is of another build",
    "NO_IMAGE": "this is not an image for an engine",
    "IMAGE_OF_OTHER_VERSION": "the image has another version",
    "IMAGE_OF_OTHER_BUILD": "the image is for another build",
    "IMAGE_SHORT": "the image is truncated",
    "IMAGE_BROKEN": "the image is broken: its checksum or its numbers do not fit together",
    "NO_ROOM": "memory is too small, or does not begin at a multiple of 4 KiB that the engine reaches",
    "ORDER": "out of order: open, load, write the input, start, wait, read the output",
    "RUNNING": "not while a run goes on",
    "SIZE": "not as many values as the tensor has",
    "VALUE": "a value that the input's format does not hold",
    "REGISTERS": "the registers do not keep what is written",
    "CHANGED": "memory does not hold what was loaded",
    "READ_REFUSED": "memory refused a read of the engine",
    "WRITE_REFUSED": "memory refused a write of the engine",
    "OUTSIDE": "a command of the image left the image's memory, or has no words",
    "LATE": "the run took longer than its limit and was given up",
    "TIMEOUT": "the run has not ended in time",
    "UNKNOWN": "the engine ended with an error that this driver does not know",
}
"""Names of the codes and what they mean; a code is the place of its name."""
OF_HARDWARE = {1: "READ_REFUSED", 2: "WRITE_REFUSED", 3: "OUTSIDE", 4: "LATE"}
"""The code of each of `hdl.engine.engine.ERRORS` but 0."""


class DriverError(UserError):
    """A driver refuses what was asked, or a run ended badly.

    Attributes
    ----------
    code : of `DRIVER_CODES`
    """

    def __init__(self, code: str, detail: str = ""):
        super().__init__(DRIVER_CODES[code] + (f" ({detail})" if detail else ""))
        self.code = code
