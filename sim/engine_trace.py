"""Every tensor that an engine has stored, beside the golden model's: where do they begin to differ?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..hdl.engine.compile.image import Compiled
from ..quant import golden
from .stage_trace import Difference, StageTrace

__all__ = ["compare_tensors"]


def compare_tensors(
    image: Compiled, pixels: NDArray[np.integer], memories: Sequence[NDArray[np.uint8]]
) -> tuple[StageTrace, ...]:  # fmt: skip
    """Compare the memories behind runs of ``image`` with the golden model's tensors.

    Parameters
    ----------
    pixels : (N, C, H, W), the image of each run
    memories : of each run, (words, bytes of a word)

    Returns
    -------
    The stored tensors in the order in which they are made, but for those whose areas were used again. Rows that the
    engine skips, since none of their pixels is asked for, are taken to be equal.
    """
    traced = list(dict.fromkeys((*image.intact, *image.masks)))
    expected = golden.run(image.network.program, np.asarray(pixels), trace=traced).tensors
    asked = [image.asked({name: expected[name][k] for name in image.masks}) for k in range(len(memories))]

    def found(name: str) -> NDArray[np.int64]:
        tensors = np.stack([image.tensor(words, name) for words in memories])
        for own, other, numbers in zip(tensors, expected[name], asked, strict=True):
            skipped = ~image.computed(name, numbers)
            own[:, skipped] = other[:, skipped]
        return tensors

    return tuple(_compared(name, expected[name], found(name)) for name in image.intact)


def _compared(name: str, expected: NDArray[np.int64], found: NDArray[np.int64]) -> StageTrace:
    """Both (N, C, H, W); the first difference is that of the lowest image, row, column, channel."""
    wrong = np.argwhere((expected != found).transpose(0, 2, 3, 1))
    first = None
    if len(wrong):
        number, y, x, channel = (int(k) for k in wrong[0])
        place = number, channel, y, x
        first = Difference(
            image=number, y=y, x=x, channel=channel, expected=int(expected[place]), found=int(found[place])
        )
    return StageTrace(name=name, values=expected.size, mismatches=len(wrong), first=first)
