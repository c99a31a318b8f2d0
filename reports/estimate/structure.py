"""The register of what can be counted: from the content of a part of a Design to its structure.

A family outside of this package registers the types of its contents as ours does in `estimate.dataflow`:

    @structure.register
    def my_structure(content: MyPart) -> Structure: ...
"""

from functools import singledispatch
from typing import Any

from ...common.errors import UserError
from .counting import Structure

__all__ = ["structure"]


@singledispatch
def structure(content: Any) -> Structure:
    """The counts of the content of a part (see `hdl.family.Part`), by its type.

    Raises
    ------
    UserError
        for a type that nobody has registered.
    """
    raise UserError(f"nothing is known of the structure of {type(content).__name__} to estimate it by; use --synth")
