"""What a network is given: images of data sets where it takes pixels, arrays of its own integers where it does not."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.errors import UserError

if TYPE_CHECKING:
    from ..models.data import Samples
    from ..quant.program import Program

__all__ = ["given"]


def given(program: "Program", images: Any, split: str, *, limit: int | None = None) -> "Samples":
    """Values for the input of ``program``, (N, C, H, W), with their labels where there are some.

    Parameters
    ----------
    images : whatever `addax.quantize` takes as such; where the input is not of unsigned bytes, an array of integers
        that lie in its format, or a pair of that and labels
    split : of a data set
    limit : take the first so many

    Raises
    ------
    UserError
        for images of another shape or range, and for a data set where the input takes no bytes.
    """
    from ..models.data import Samples, samples
    from ..models.data.sets import check_labels
    from ..quant.golden.layout import checked
    from ..quant.ops.ends import PIXEL

    op = program.input
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
