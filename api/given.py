"""What a network is given: images of data sets where it takes pixels, arrays of its own integers where it does not."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.errors import UserError

if TYPE_CHECKING:
    from ..models.data import Samples
    from ..models.data.pairs import PicturePairs
    from ..quant.program import Program

__all__ = ["given", "given_pairs"]


def given_pairs(
    program: "Program", images: Any, split: str, *, limit: int | None = None
) -> "PicturePairs | None":  # fmt: skip
    """The pictures in two sizes that ``images`` are, where ``program`` makes the small ones large, or the degraded ones
    that it makes better, always degraded in the same way; else None.

    Parameters
    ----------
    images : such pictures, or what `load_pairs` reads
    limit : take the first so many

    Raises
    ------
    UserError
        for pictures that are broken, do not fit together, or are of another scale or other channels.
    """
    from ..models.data.pairs import PicturePairs, holds_pairs
    from ..models.data.picture_tasks import picture_task
    from ..quant.program import TASK_NAME

    scale = program.enlargement
    if scale is None:
        return None
    task = picture_task(program.metadata.get(TASK_NAME), scale=scale)
    if isinstance(images, PicturePairs):
        if images.scale != scale:
            raise UserError(f"the network makes images {scale} times as large; these pictures are {images.scale} times")
        return task.fixed(images.head(limit))
    if not isinstance(images, str | Path) or not holds_pairs(images, split):
        return None
    return task.fixed_pairs(images, split, channels=program.input.shape[0], limit=limit)


def given(program: "Program", images: Any, split: str, *, limit: int | None = None) -> "Samples":
    """Values for the input of ``program``, (N, C, H, W), with their labels where there are some.

    Parameters
    ----------
    images : whatever `addax.quantize` takes as such; where the input is not of unsigned bytes, an array of integers
        that lie in its format, or a pair of that and labels
    split : of a data set. Of pictures, where the network makes them larger, it gives crops of the small ones
    limit : take the first so many

    Raises
    ------
    UserError
        for images of another shape or range, and for a data set where the input takes no bytes.
    """
    from ..models.data import Samples, samples
    from ..models.data.sets import check_labels
    from ..models.data.tiles import crops
    from ..quant.golden.layout import checked
    from ..quant.ops.ends import PIXEL

    op = program.input
    if op.format == PIXEL and (pairs := given_pairs(program, images, split)) is not None:
        _, height, width = op.shape
        room = sum(pair.low[0].size for pair in pairs.pairs) // (height * width)
        return Samples(x=crops(pairs, op.shape, limit or max(room, 1)), y=None, said=f"crops of {pairs.said}")
    if op.format == PIXEL:
        return samples(images, split, shape=op.shape, limit=limit)
    if isinstance(images, Samples):
        images = images.x if images.y is None else (images.x, images.y)
    values: Any
    labels: Any
    values, labels = images if isinstance(images, tuple) and len(images) == 2 else (images, None)
    if not isinstance(values, np.ndarray):
        form = ", ".join(map(str, op.shape))
        raise UserError(
            f"the network takes {op.format}, and data sets hold unsigned bytes; give an array of integers (N, {form})"
        )
    try:
        values = checked(op, values)[:limit]
    except ValueError as error:
        raise UserError(str(error)) from error
    if labels is not None:
        labels = np.asarray(labels)[:limit]
        check_labels(labels, len(values), "the array")
    return Samples(x=values, y=labels, said="an array of integers")
