"""The adder convolution compiled for this processor, from ``adder.cpp``."""

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

from ...common.native import compiled
from .shape import ConvolutionShape

__all__ = ["NativeBackEnd", "native_back_end"]

_SOURCE = Path(__file__).with_name("adder.cpp")
_FLAGS = ("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast")
_TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


class _Map(ctypes.Structure):
    """``Map`` of adder.cpp."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("type", "image", "channel", "row", "column")),
    )


class _Problem(ctypes.Structure):
    """``Problem`` of adder.cpp."""

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in (
            "images", "channels", "height", "width", "outputs", "rows", "columns", "kernel_rows", "kernel_columns",
            "down", "right", "top", "left", "dilation_rows", "dilation_columns", "groups", "threads",
        )
    )  # fmt: skip


class NativeBackEnd:
    """Register tiles over small buffers, with as many threads as torch has; see `back_ends.BackEnd`.

    With one number of threads, results are the same to the bit in every run.
    """

    name = "native"

    def __init__(self, library: ctypes.CDLL):
        self._library = library

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, shape: ConvolutionShape, out: Tensor) -> None:
        """As `BackEnd` says."""
        filters, biases = _floats(weight), None if bias is None else _floats(bias)
        self._library.addax_adder_forward(
            _problem(shape), _map(x), _data(filters), None if biases is None else _data(biases), _map(out)
        )

    def features(self, x: Tensor, weight: Tensor, upstream: Tensor, shape: ConvolutionShape, out: Tensor) -> None:
        """As `BackEnd` says."""
        filters = _floats(weight)
        self._library.addax_adder_features(_problem(shape), _map(x), _data(filters), _map(upstream), _map(out))

    def filters(self, x: Tensor, weight: Tensor, upstream: Tensor, shape: ConvolutionShape) -> Tensor:
        """As `BackEnd` says."""
        filters, found = _floats(weight), torch.empty(shape.filters, dtype=torch.float32)
        self._library.addax_adder_filters(_problem(shape), _map(x), _data(filters), _map(upstream), _data(found))
        return found


@functools.cache
def native_back_end() -> NativeBackEnd | None:
    """The compiled back end, made once per machine and cached; None where there is no working compiler."""
    # Where there is OpenMP, torch's own threads do the work.
    library = compiled(_SOURCE, (*_FLAGS, "-fopenmp")) or compiled(_SOURCE, (*_FLAGS, "-pthread"))
    return None if library is None else NativeBackEnd(library)


def _floats(values: Tensor) -> Tensor:
    return values.detach().float().contiguous()


def _data(values: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(values.data_ptr())


def _map(values: Tensor) -> ctypes.c_void_p:
    return ctypes.byref(_Map(values.data_ptr(), _TYPES[values.dtype], *values.stride()))  # type: ignore[return-value]


def _problem(shape: ConvolutionShape) -> ctypes.c_void_p:
    return ctypes.byref(  # type: ignore[return-value]
        _Problem(
            shape.images, shape.channels, shape.height, shape.width, shape.outputs, shape.rows, shape.columns,
            *shape.kernel, *shape.stride, *shape.padding, *shape.dilation, shape.groups, torch.get_num_threads(),
        )
    )  # fmt: skip
