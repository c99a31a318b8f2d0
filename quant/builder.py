"""A builder of Programs for people who bring integers: weights of their own quantisation, factors, thresholds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common.errors import UserError
from .fold.calibrate import shared_scale
from .formats import Format, format_for, signed, unsigned
from .ops.base import Ints, Op, Shape, Tensor
from .ops.ends import PIXEL
from .ops.window import Pair, Sides
from .program import (
    ArgMax,
    AveragePool,
    Concat,
    Convolution,
    Divide,
    Flatten,
    Input,
    Kernel,
    MatMul,
    MaxPool,
    Norm,
    Product,
    Program,
    Rearrange,
    Reduce,
    Requantise,
    Select,
    Softmax,
    Table,
    Threshold,
    Unfold,
    infer,
    score_format,
)

__all__ = ["ProgramBuilder", "lossless_clamp"]

Numbers = Sequence[Any] | NDArray[Any] | int


class ProgramBuilder:
    """Operations one after another; shapes and formats are carried along, so that only numbers need be said.

    Every method adds an operation and returns its name, by which later ones read it; without ``source`` an operation
    reads the one before. What does not fit is refused where it is added, by name.

    Parameters
    ----------
    shape : of what the Program is given: (C, H, W) of images, (F,) features, or (T, F), T tokens of F features, which
        become (F, 1, 1) and (F, 1, T), as every tensor has three dimensions
    network : what the result is called
    format : of what the Program is given, at most 32 bits; unsigned bytes, as pixels are, unless said

    Examples
    --------
    >>> build = ProgramBuilder((1, 2, 2))
    >>> _ = build.convolution([[[[1, -1], [2, 0]]]], kernel="mult", bits=4)
    >>> _ = build.scores()
    >>> build.program().classes
    1
    """

    def __init__(self, shape: Sequence[int], *, network: str = "own", format: Format = PIXEL):
        self.network = network
        self._ops: dict[str, Op] = {}
        self._inferred: dict[str, Tensor] = {}
        self.last = ""
        try:
            first = Input.of(shape, format=format)
        except (ValueError, TypeError) as error:
            raise UserError(f"shape must be one to three positive integers, not {shape!r}") from error
        self.add(first)

    def shape(self, name: str | None = None) -> Shape:
        """(C, H, W) of the result of an operation, the last one unless said."""
        return self._of(name).shape

    def format(self, name: str | None = None) -> Format:
        """Format of the result of an operation, the last one unless said; of a convolution that of its sums."""
        return self._of(name).format

    def add(self, op: Op) -> str:
        """Any operation, made by hand.

        Raises
        ------
        UserError
            where it does not fit what it reads.
        """
        if not isinstance(op, Op):
            raise UserError(f"expected an operation, not {op!r}")
        if op.name in self._ops:
            raise UserError(f"there is an operation {op.name!r} already")
        for source in op.sources:
            self._of(source)
        try:
            self._inferred[op.name] = infer(op, self._inferred)
        except ValueError as error:
            raise UserError(f"{op.name}: {error}") from error
        self._ops[op.name] = op
        self.last = op.name
        return op.name

    def convolution(
        self, weight: Numbers, *, kernel: Kernel = "adder", bits: int | None = None, pad: Numbers = 0,
        source: str | None = None, name: str | None = None, **how: Any,
    ) -> str:  # fmt: skip
        """Sums of a window of features and a filter.

        Parameters
        ----------
        weight : (O, I / groups, Kh, Kw) integers, (O, I) for a dense layer; of ``xnor`` and of ``mult`` with one bit 0
            for -1; of ``shift`` words of a sign above a code
        bits : of the weights of ``mult`` (signed; 1: -1/+1); an adder's weights are on the grid of its features, those
            of ``xnor`` have one bit, those of ``shift`` four
        pad : what a tap outside the image reads, one number or one per channel
        how : ``stride``, ``padding``, ``dilation``, ``groups`` and what else `Convolution` has
        """
        read = self._of(source)
        words = _integers(weight, "weight")
        if words.ndim == 2:
            words = words[:, :, None, None]
        return self.add(
            Convolution(
                name=self._name("conv", name), source=source or self.last, kernel=kernel, weight=words,
                weight_format=_weight_format(kernel, read.format, bits), pad=_per(read.shape[0], pad, "pad"), **how,
            )
        )  # fmt: skip

    def requantise(
        self, multiplier: Numbers, offset: Numbers = 0, shift: Numbers = 0, *, bits: int = 8,
        signed_result: bool = False, residual: str | None = None, source: str | None = None, name: str | None = None,
        **how: Any,
    ) -> str:  # fmt: skip
        """``clamp((acc * M + r * R + B) >> S)`` into ``bits``; half of 2**S in ``offset`` rounds to the nearest.

        Parameters
        ----------
        multiplier, offset, shift : M, B and S, one number or one per channel
        signed_result : else it is unsigned, which makes a ReLU of the clamp
        residual : a stored tensor that is added, with ``residual_multiplier`` R
        how : ``lo``, ``hi``, ``residual_multiplier``, ``ties`` and what else `Requantise` has
        """
        channels, fmt = self.shape(source)[0], (signed if signed_result else unsigned)(bits)
        limits = {"lo": fmt.lo, "hi": fmt.hi, **how}
        return self.add(
            Requantise(
                name=self._name("requantise", name), source=source or self.last, residual=residual, format=fmt,
                multiplier=_per(channels, multiplier, "multiplier"), offset=_per(channels, offset, "offset"),
                shift=_per(channels, shift, "shift"), **limits,
            )
        )  # fmt: skip

    def threshold(
        self, thresholds: Numbers, falling: Numbers = 0, *, source: str | None = None, name: str | None = None
    ) -> str:  # fmt: skip
        """How many of a channel's ``thresholds``, (O, n) ascending, its sum reaches (``>=``); where ``falling``, how
        many it does not."""
        levels = _integers(thresholds, "thresholds")
        channels = self.shape(source)[0]
        return self.add(
            Threshold(
                name=self._name("threshold", name), source=source or self.last, thresholds=levels,
                falling=_per(channels, falling, "falling"), format=format_for(0, max(1, levels.shape[-1])),
            )
        )  # fmt: skip

    def table(
        self, entries: Numbers, *, bits: int = 8, signed_result: bool = False, source: str | None = None,
        name: str | None = None,
    ) -> str:  # fmt: skip
        """Every value replaced by what stands for it in ``entries``, from that of the lowest value to that of the
        highest: (2**n,) for all channels, or (C, 2**n)."""
        made, fmt = self._name("table", name), (signed if signed_result else unsigned)(bits)
        return self.add(
            Table(name=made, source=source or self.last, entries=_integers(entries, "entries"), format=fmt)
        )  # fmt: skip

    def product(self, other: str, *, source: str | None = None, name: str | None = None) -> str:
        """What it reads times the result of ``other``, of its shape or (C, 1, 1); a requantise behind it divides."""
        return self.add(Product(name=self._name("product", name), source=source or self.last, other=other))

    def matmul(
        self, other: str, form: str, *, heads: int = 1, kernel: str = "mult", source: str | None = None,
        name: str | None = None,
    ) -> str:  # fmt: skip
        """Sums of products of two tensors of tokens, ``heads`` parts of their channels apart: ``"scores"`` of what it
        reads against ``other``, or the ``"context"`` that weights make of ``other``, see `MatMul`."""
        made, read = self._name("matmul", name), source or self.last
        return self.add(MatMul(name=made, source=read, other=other, form=form, kernel=kernel, heads=heads))

    def softmax(
        self, entries: Numbers, *, bits: int = 8, heads: int = 1, mask: Numbers | None = None,
        source: str | None = None, name: str | None = None,
    ) -> str:  # fmt: skip
        """Exponentials of scores, looked up in ``entries`` by the distance to the largest of a head; see `Softmax`. A
        `reduce` to their sum and a `divide` behind it make the weights of a context.

        Parameters
        ----------
        mask : (W, J), 1 where the token in a column sees token j; None: all see all
        """
        made, held = self._name("softmax", name), None if mask is None else _integers(mask, "mask")
        return self.add(
            Softmax(name=made, source=source or self.last, entries=_integers(entries, "entries"), format=unsigned(bits),
                    heads=heads, mask=held)
        )  # fmt: skip

    def divide(
        self, denominator: str, multiplier: Numbers = 1, offset: Numbers = 0, shift: int = 0, *, bits: int = 8,
        signed_result: bool = False, source: str | None = None, name: str | None = None, **how: Any,
    ) -> str:  # fmt: skip
        """``clamp((num * M + d * B) // (d << S))`` into ``bits``, ``d`` of the result of ``denominator``; ``lo`` and
        ``hi`` as in `requantise`."""
        channels, fmt = self.shape(source)[0], (signed if signed_result else unsigned)(bits)
        return self.add(
            Divide(
                name=self._name("divide", name), source=source or self.last, denominator=denominator, format=fmt,
                multiplier=_per(channels, multiplier, "multiplier"), offset=_per(channels, offset, "offset"),
                shift=shift, **{"lo": fmt.lo, "hi": fmt.hi, **how},
            )
        )  # fmt: skip

    def norm(
        self, multiplier: Numbers, offset: Numbers = 0, shift: int = 0, *, fraction: int, reciprocal: int, cut: int,
        bits: int = 8, signed_result: bool = True, source: str | None = None, name: str | None = None, **how: Any,
    ) -> str:  # fmt: skip
        """A layer norm over the channels of every token, see `Norm`, whose ``eps``, ``powers``, ``lo`` and ``hi`` may
        be given as well."""
        channels, fmt = self.shape(source)[0], (signed if signed_result else unsigned)(bits)
        return self.add(
            Norm(
                name=self._name("norm", name), source=source or self.last, format=fmt, fraction=fraction,
                reciprocal=reciprocal, cut=cut, multiplier=_per(channels, multiplier, "multiplier"),
                offset=_per(channels, offset, "offset"), shift=shift, **{"lo": fmt.lo, "hi": fmt.hi, **how},
            )
        )  # fmt: skip

    def rearrange(
        self, split: Sequence[int], order: Sequence[int], shape: Shape, *, source: str | None = None,
        name: str | None = None,
    ) -> str:  # fmt: skip
        """The tensor read as an array of ``split`` sizes, its axes in another ``order``, and that read as ``shape``."""
        made, read = self._name("rearrange", name), source or self.last
        return self.add(Rearrange(name=made, source=read, split=tuple(split), order=tuple(order), shape=shape))

    def unfold(
        self, block: Pair, size: Pair, stride: Pair = 1, padding: Sides = 0, *, pad: Numbers = 0,
        source: str | None = None, name: str | None = None,
    ) -> str:  # fmt: skip
        """The windows of every block of the map as tokens, one row of them for each block; see `Unfold`."""
        return self.add(
            Unfold(
                name=self._name("unfold", name), source=source or self.last, block=block, size=size, stride=stride,
                padding=padding, pad=_per(self.shape(source)[0], pad, "pad"),
            )
        )  # fmt: skip

    def arg_max(self, *, source: str | None = None, name: str | None = None) -> str:
        """The lowest index of the largest channel of each pixel; at the end, of one pixel, the class of its scores."""
        return self.add(ArgMax(name=self._name("argmax", name), source=source or self.last))

    def select(self, mask: str, branches: Sequence[str], *, name: str | None = None) -> str:
        """Of each pixel the branch whose number ``mask``, (1, H, W) unsigned, has there; branches are alike in format
        and shape."""
        return self.add(Select(name=self._name("select", name), source=mask, branches=tuple(branches)))

    def reduce(self, how: str, parts: int = 1, *, source: str | None = None, name: str | None = None) -> str:
        """The ``"sum"`` or ``"max"`` of the channels of each pixel, or of each of equal ``parts`` of them."""
        return self.add(Reduce(name=self._name("reduce", name), source=source or self.last, how=how, parts=parts))

    def max_pool(
        self, size: Pair, stride: Pair | None = None, *, source: str | None = None, name: str | None = None, **how: Any
    ) -> str:  # fmt: skip
        """The largest of each window; ``stride`` is ``size`` unless said. Either is one number, or (down, right)."""
        made = self._name("pool", name)
        return self.add(MaxPool(name=made, source=source or self.last, size=size, stride=stride or size, **how))

    def average_pool(
        self, size: Pair, stride: Pair | None = None, *, source: str | None = None, name: str | None = None
    ) -> str:  # fmt: skip
        """The *sum* of each window; a requantise behind it divides."""
        made = self._name("pool", name)
        return self.add(AveragePool(name=made, source=source or self.last, size=size, stride=stride or size))

    def concat(self, *sources: str, axis: str = "C", name: str | None = None) -> str:
        """Tensors of one format behind each other along ``axis``: channels, or ``"H"`` rows, ``"W"`` columns."""
        if len(sources) < 2:
            raise UserError("concat needs two tensors or more")
        return self.add(
            Concat(name=self._name("concat", name), source=sources[0], others=tuple(sources[1:]), axis=axis)
        )

    def flatten(self, *, source: str | None = None, name: str | None = None) -> str:
        """(C, H, W) to (C*H*W, 1, 1) in that order."""
        return self.add(Flatten(name=self._name("flatten", name), source=source or self.last))

    def scores(
        self, multiplier: Numbers = 1, offset: Numbers = 0, shift: Numbers = 0, *, source: str | None = None,
        name: str | None = None,
    ) -> str:  # fmt: skip
        """Class scores, in a format in which they never saturate as long as no M exceeds 2**S, and their arg-max."""
        bits = score_format(self.format(source)).bits
        made = self.requantise(
            multiplier, offset, shift, bits=bits, signed_result=True, source=source, name=name or "scores"
        )
        return self.add(ArgMax(name=self._name("class", "class" if "class" not in self._ops else None), source=made))

    def program(self, **metadata: str) -> Program:
        """What has been added, checked as a whole; ``metadata`` is kept in its files.

        Raises
        ------
        UserError
            where it is no Program: nothing computed, or a result that nobody reads.
        """
        try:
            return Program(ops=tuple(self._ops.values()), metadata={"network": self.network, **metadata})
        except ValueError as error:
            raise UserError(str(error)) from error

    def _of(self, name: str | None) -> Tensor:
        found = self._inferred.get(self.last if name is None else name)
        if found is None:
            raise UserError(f"there is no operation {name!r}; there are {', '.join(self._ops)}")
        return found

    def _name(self, kind: str, name: str | None) -> str:
        return name or f"{kind}{sum(known.startswith(kind) for known in self._ops) + 1}"


def lossless_clamp(
    weight: NDArray[np.floating[Any]], step: float, features: Format
) -> tuple[Ints, NDArray[np.float64]]:
    """An adder layer's real weights on the grid of its features, without losing what the grid does not reach.

    For every feature ``x`` of the grid, ``-sum |x - w / step| = -sum |x - clamp(w / step)| - C``: the clamp is exact,
    and only rounding costs. ``C`` goes into the offset of the requantise behind: ``B -= round(M * C)``.

    Parameters
    ----------
    weight : (O, ...) real
    step : real value of one unit of the features
    features : their format

    Returns
    -------
    integer weights in ``features``, and C (O,) in units of ``step``
    """
    if not step > 0:
        raise UserError(f"step must be a positive number, not {step!r}")
    return shared_scale(np.asarray(weight, np.float64), step, features)


def _weight_format(kernel: str, features: Format, bits: int | None) -> Format:
    if kernel == "adder":
        if bits not in (None, features.bits):
            raise UserError(f"an adder's weights are on the grid of its features, {features}; leave bits out")
        return features
    if kernel == "xnor":
        return unsigned(1)
    if kernel == "shift":
        return unsigned(4)
    try:
        return unsigned(1) if bits == 1 else signed(8 if bits is None else bits)
    except ValueError as error:
        raise UserError(str(error)) from error


def _integers(values: Any, what: str) -> Ints:
    array = np.asarray(values)
    if array.dtype.kind not in "iub" or array.ndim == 0:
        raise UserError(f"{what} must be integers, not {array.dtype} of shape {array.shape}")
    return array.astype(np.int64)


def _per(channels: int, values: Numbers, what: str) -> Ints:
    """One number per channel."""
    array = np.atleast_1d(np.asarray(values))
    if array.dtype.kind not in "iub" or array.shape not in ((1,), (channels,)):
        raise UserError(f"{what} must be an integer, or {channels}, not {array.dtype} of shape {array.shape}")
    return np.broadcast_to(array, (channels,)).astype(np.int64)
