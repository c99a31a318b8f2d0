"""Images of a test bench that needs no data set, and words as the files that Verilog reads."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ...quant.ops.ends import PIXEL
from ...quant.program import Program

__all__ = ["hex_lines", "sample_vectors"]


def sample_vectors(program: Program, count: int = 4, seed: int = 0) -> NDArray[np.integer]:
    """Images for a test bench that needs no data set: smooth random blobs over the whole range of the input."""
    rng = np.random.default_rng(seed)
    (channels, height, width), fmt = program.input.shape, program.input.format
    kind: type = np.uint8 if fmt == PIXEL else np.int64
    coarse = rng.integers(fmt.lo, fmt.hi + 1, (count, channels, -(-height // 4), -(-width // 4)), dtype=kind)
    return np.ascontiguousarray(coarse.repeat(4, axis=2).repeat(4, axis=3)[:, :, :height, :width])


def hex_lines(words: Iterable[int], bits: int) -> str:
    """Words as a ``$readmemh`` file."""
    digits = -(-bits // 4)
    return "".join(f"{int(word):0{digits}x}\n" for word in words)
