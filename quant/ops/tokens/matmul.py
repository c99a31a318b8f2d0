"""Products of two tensors of tokens, head by head: what every token asks of every other, and what it gets of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...formats import Format, format_for
from ..base import Bounds, Ints, Op, Shape, Tensor

__all__ = ["MATMUL_FORMS", "MATMUL_KERNELS", "MatMul"]

MATMUL_FORMS = ("scores", "context")
"""What a `MatMul` sums over: the channels of a head, or the tokens of a row."""
MATMUL_KERNELS = ("mult", "adder")
"""What a `MatMul` makes of two integers: their product, or minus the distance between them."""
_MOST_BITS = 16
"""As for the features of a convolution."""
_HELD = 1 << 62
"""Sums are held in signed 64-bit integers, and lie well below."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MatMul(Op):
    """Exact sums of ``f(a, b)`` of two tensors of tokens for each of ``heads`` equal parts of their channels; ``f`` is
    ``a * b`` for the kernel ``mult``, ``-abs(a - b)`` for ``adder``.

    With Wa tokens in a row of ``a``, Wb in one of ``b``, and parts of D channels, of head g:

    - ``scores``: ``y[g*Wb + j, h, i] = sum_d f(a[g*D + d, h, i], b[g*D + d, h, j])``. The scores of a token are
      channels behind each other, head by head, so that a softmax looks along the channels of one pixel.
    - ``context``: ``y[g*D + d, h, i] = sum_j f(a[g*Wb + j, h, i], b[g*D + d, h, j])``, where ``a`` has what the scores
      became: as many channels for each head as ``b`` has tokens in a row.

    Attributes
    ----------
    source : a, (C, H, Wa): queries, or weights of the other tokens
    other : b, (C, H, Wb), or (C, 1, Wb), one row that stands for all: keys, or values. May be ``a`` itself
    form : one of `MATMUL_FORMS`
    kernel : one of `MATMUL_KERNELS`; ``adder`` takes operands of one format and, for whoever makes them, of one step
    heads : how many equal parts the channels have, neighbours together
    """

    other: str
    form: str
    kernel: str = "mult"
    heads: int = 1

    @property
    def sources(self) -> tuple[str, ...]:
        """``a`` and ``b``."""
        return self.source, self.other

    def terms(self, read: Sequence[Tensor]) -> int:
        """How many ``f(a, b)`` are in one sum."""
        channels, _, tokens = read[1].shape
        return channels // self.heads if self.form == "scores" else tokens

    def macs(self, result: Shape, read: Sequence[Tensor]) -> int:
        """`terms` for each of the values of ``result``."""
        return self.terms(read) * int(np.prod(result))

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """Lowest and highest sum of each channel, of the bounds of the channels that it adds up."""
        (a_least, a_most), (b_least, b_most) = ([ends.reshape(self.heads, -1) for ends in of(s)] for s in self.sources)
        tokens = read[1].shape[2]
        if self.form == "scores":
            sums = [ends.sum(1) for ends in self._ends(a_least, a_most, b_least, b_most)]
            least, most = (np.repeat(ends, tokens) for ends in sums)
            return least, most
        # (heads, tokens, 1) of weights beside (heads, 1, D) of values
        ends = self._ends(a_least[:, :, None], a_most[:, :, None], b_least[:, None], b_most[:, None])
        least, most = (end.sum(1).reshape(-1) for end in ends)
        return least, most

    def _ends(self, a_least: Ints, a_most: Ints, b_least: Ints, b_most: Ints) -> Bounds:
        """Lowest and highest ``f(a, b)``."""
        if self.kernel == "adder":
            near = np.maximum(np.maximum(a_least - b_most, b_least - a_most), 0)
            return -np.maximum(a_most - b_least, b_most - a_least), -near
        corners = np.stack(np.broadcast_arrays(*(a * b for a in (a_least, a_most) for b in (b_least, b_most))))
        return corners.min(0), corners.max(0)

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """(heads * Wb, H, Wa) of scores, (heads * D, H, Wa) of a context, in the format that holds every sum."""
        if self.form not in MATMUL_FORMS:
            raise ValueError(f"form must be one of {', '.join(MATMUL_FORMS)}, not {self.form!r}")
        if self.kernel not in MATMUL_KERNELS:
            raise ValueError(f"kernel of a MatMul must be one of {', '.join(MATMUL_KERNELS)}, not {self.kernel!r}")
        (_, height, width), (channels, _, tokens) = (tensor.shape for tensor in read)
        self._check_formats(read[0].format, read[1].format)
        self._check_shapes(read[0].shape, read[1].shape)
        terms = self.terms(read)
        least, most = self._range(read[0].format, read[1].format)
        if max(-least, most) * terms >= _HELD:
            raise ValueError(f"sums of {terms} terms of {read[0].format} and {read[1].format} exceed 62 bits")
        outputs = self.heads * tokens if self.form == "scores" else channels
        return Tensor((outputs, height, width), format_for(least * terms, most * terms))

    def _check_formats(self, a: Format, b: Format) -> None:
        for name, fmt in ((self.source, a), (self.other, b)):
            if fmt.bits > _MOST_BITS:
                raise ValueError(f"a MatMul has operands of at most {_MOST_BITS} bits; {name} is {fmt}")
        if self.kernel == "adder" and a != b:
            raise ValueError(f"an adder kernel needs one grid for both operands, not {a} and {b}")

    def _check_shapes(self, a: Shape, b: Shape) -> None:
        if self.heads < 1 or b[0] % self.heads:
            raise ValueError(f"heads must divide {b[0]} channels of {self.other}, which {self.heads} does not")
        if b[1] not in (1, a[1]):
            raise ValueError(f"{self.other} must have {a[1]} rows, or 1 for all of them, not {b[1]}")
        needed, why = (b[0], f"as {self.other} has") if self.form == "scores" else (
            self.heads * b[2], f"{b[2]} tokens of {self.other} for each of {self.heads} heads"
        )  # fmt: skip
        if a[0] != needed:
            raise ValueError(f"{self.source} must have {needed} channels, {why}, not {a[0]}")

    def _range(self, a: Format, b: Format) -> tuple[int, int]:
        """Lowest and highest ``f(a, b)`` of any integers of the formats."""
        if self.kernel == "adder":
            return -max(a.hi - b.lo, b.hi - a.lo), 0
        products = [x * y for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
        return min(products), max(products)
