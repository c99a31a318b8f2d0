"""The constant: a tensor that is the same for every image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..formats import Format
from .base import Bounds, Ints, Op, Tensor

__all__ = ["Constant"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Constant(Op):
    """A tensor of the Program itself: positions, a class token, the zero channels of a shortcut.

    Attributes
    ----------
    value : (C, H, W), each at least 1, in ``format``
    """

    source: str = ""
    value: Ints
    format: Format

    @property
    def sources(self) -> tuple[str, ...]:
        """None: it reads nothing."""
        return ()

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """Lowest and highest value of each channel."""
        return self.value.min((1, 2)), self.value.max((1, 2))

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """Shape and format of the constant itself."""
        shape = self.value.shape
        if len(shape) != 3 or not self.value.size:
            raise ValueError(f"value must be channels, rows and columns, not of shape {shape}")
        if not self.format.allows(self.value):
            raise ValueError(f"value must fit {self.format}, not {self.value.min()}..{self.value.max()}")
        channels, height, width = shape
        return Tensor((channels, height, width), self.format)
