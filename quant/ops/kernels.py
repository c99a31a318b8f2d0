"""The kernels of a convolution: which operands they take, and how far one product of theirs reaches."""

from ..formats import Format

__all__ = ["KERNELS", "OPERAND_BITS", "SHIFT_MAX", "Kernel", "check_operands", "term_range"]

Kernel = str

KERNELS: tuple[Kernel, ...] = ("adder", "mult", "xnor", "shift")
OPERAND_BITS: dict[Kernel, tuple[tuple[int, int], tuple[int, int]]] = {
    "adder": ((2, 16), (2, 16)),
    "mult": ((2, 16), (1, 16)),
    "xnor": ((1, 1), (1, 1)),
    "shift": ((2, 16), (4, 4)),
}
"""Fewest and most bits of features and of weights. A weight of one bit is +1 or, as 0, -1."""
SHIFT_MAX = 64
"""Largest factor of the shift kernel: a weight is a sign above a code of three bits, 0 for zero, ``c`` for 2**(c-1)."""


def check_operands(kernel: Kernel, x: Format, w: Format) -> None:
    """Raise ``ValueError`` when ``kernel`` has no term for features ``x`` and weights ``w``."""
    if kernel not in OPERAND_BITS:
        raise ValueError(f"kernel must be one of {', '.join(OPERAND_BITS)}, not {kernel!r}")
    for what, fmt, (least, most) in zip(("features", "weights"), (x, w), OPERAND_BITS[kernel], strict=True):
        if not least <= fmt.bits <= most:
            bits = f"{least} to {most} bits" if least < most else f"{least} bit{'s' * (least > 1)}"
            raise ValueError(f"{what} of the {kernel} kernel have {bits}, not {fmt.bits}")


def term_range(kernel: Kernel, x: Format, w: Format) -> tuple[int, int]:
    """Range of one product for any operands of the formats."""
    if kernel == "adder":
        return -max(x.hi - w.lo, w.hi - x.lo), 0
    if kernel == "xnor":
        return -1, 1
    largest = SHIFT_MAX if kernel == "shift" else 1
    lo, hi = (-largest, largest) if kernel == "shift" or w.bits == 1 else (w.lo, w.hi)
    products = [a * b for a in (x.lo, x.hi) for b in (lo, hi)]
    return min(products), max(products)
