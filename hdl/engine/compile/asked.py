"""What the pixels of an image ask for, and so what an engine skips."""

import numpy as np
from numpy.typing import NDArray

from ....quant import golden
from .image import Compiled

__all__ = ["asked_by"]


def asked_by(image: Compiled, pixels: NDArray[np.integer]) -> NDArray[np.bool_] | None:
    """`Compiled.asked` of (C, H, W) ``pixels``, by the golden model; None where nothing is ever skipped."""
    if not image.masks:
        return None
    tensors = golden.run(image.network.program, pixels[None], trace=list(image.masks)).tensors
    return image.asked({name: tensors[name][0] for name in image.masks})
