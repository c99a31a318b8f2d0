"""Lowering of convolutions and dense layers of every kernel: words of weights, and sums that wait to be requantised."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ....common.errors import UserError
from ....models.layers.adder import AdderConv2d
from ....models.layers.binary import BinaryConv2d
from ....models.layers.shift import ShiftConv2d, nearest_powers
from ...fold.assembly import Bits, Pending, Stored
from ...fold.calibrate import Grid, group_steps, per_channel_symmetric, shared_scale
from ...formats import Format, signed, unsigned
from ...program import SHIFT_MAX, Concat, Convolution, Rearrange, Unfold
from ..graph.nodes import Floats, numpy_of
from ..graph.weights import Weighted, weighted
from ..layout import Axis, Layout
from ..readers import is_edge, wanted
from ..state import Lowering, MaskedScores, Quotient, Value
from .geometry import geometry
from .table import Call, lowers
from .tokens.places import blocks_of, pixels_moved, tokens_of, windows_of
from .transposed import as_ordinary

__all__ = ["convolution"]

aten = torch.ops.aten
Ints = NDArray[np.int64]


@lowers(
    AdderConv2d, BinaryConv2d, ShiftConv2d, nn.Conv2d, nn.Linear, aten.conv2d, aten.linear, aten.conv_transpose2d
, layouts="any")  # fmt: skip
def convolution(lowering: Lowering, call: Call) -> Pending:
    """A layer with weights, on pixels, bits or features, of maps, tokens or patches."""
    layer = weighted(lowering.traced, call.node)
    if isinstance(lowering.values[call.source], Quotient | MaskedScores):
        lowering.values[call.source] = lowering.store(call.source)
    if layer.dense and (call.source in lowering.layouts or lowering.shape_of(call.source)[1:] != (1, 1)):
        return _on_tokens(lowering, layer)
    block = blocks_of(lowering.layouts.get(call.source))
    if block is not None:
        return _on_patches(lowering, layer, block)
    with lowering.as_maps([call.source]):
        value = lowering.values[call.source]
        if not layer.transposed:
            return _lowered(lowering, layer, value)
        ordinary, factor = as_ordinary(layer, lowering.shape_of(call.source))
        return replace(_lowered(lowering, ordinary, value), shuffle=factor)


def _on_tokens(lowering: Lowering, layer: Weighted) -> Pending:
    """A dense layer on the last of several dimensions, whose numbers come into the channels."""
    layout, value = lowering.layout(layer.source), lowering.values[layer.source]
    place = tokens_of(layout, layout.dims[-1])
    made = (Axis(len(layer.weight)),) if len(layer.weight) > 1 else ()
    lowering.lay(layer.node, Layout(dims=(*layout.dims[:-1], made), place=(made, *place[1:])))
    if isinstance(value, Pending) and value.op == "pixels" and value.affine:
        value = pixels_moved(lowering, value, layout, place)
    return _lowered(lowering, layer, value, lambda stored: lowering.arranged(stored, layout, place))


def _on_patches(lowering: Lowering, layer: Weighted, block: tuple[int, int]) -> Pending:
    """A convolution in each of the blocks of a map."""
    value = lowering.values[layer.source]
    channels = lowering.shape_of(layer.source)[0]
    if isinstance(value, Pending) and value.op == "pixels" and value.affine and _is_ordinary(layer):
        name, flat = windows_of(lowering, layer, value.op, block, _black(value))
        taps = flat.weight.shape[1] // channels
        gain, centre, bias = (np.repeat(held, taps) for held in (value.gain, value.centre, value.bias))
        return _lowered(lowering, flat, replace(value, op=name, gain=gain, centre=centre, bias=bias))
    stored = _features(lowering, layer)
    name, flat = windows_of(lowering, layer, stored.op, block, np.zeros(channels))
    return _lowered(lowering, flat, value, lambda found: replace(found, op=name))


def _same(stored: Stored) -> Stored:
    return stored


def _lowered(
    lowering: Lowering, layer: Weighted, value: Value, moved: Callable[[Stored], Stored] = _same
) -> Pending:  # fmt: skip
    """The sums of a layer; ``moved`` brings what it reads to where it is read."""
    kind = layer.layer
    if isinstance(value, Pending) and _pixels(lowering, value.op) and value.affine and _is_ordinary(layer):
        return _on_pixels(lowering, layer, value)
    if isinstance(kind, BinaryConv2d) and isinstance(value, Bits) and (kind.border or not any(layer.padding)):
        words, steps = _signs(layer, kind)
        return _sums(lowering, layer, value.op, "xnor", words, unsigned(1), value.step * steps)
    found = _features(lowering, layer)
    stored = moved(found)
    if isinstance(kind, AdderConv2d):
        return _adder(lowering, layer, stored)
    kernel, words, fmt, steps = _factors(lowering, layer, edge=is_edge(lowering.traced, layer.node, found.op))
    return _sums(lowering, layer, stored.op, kernel, words, fmt, stored.step * steps, unit=stored.step)


def _is_ordinary(layer: Weighted) -> bool:
    """Whether it multiplies by weights of any value, and has no groups."""
    return not isinstance(layer.layer, AdderConv2d | BinaryConv2d | ShiftConv2d) and layer.groups == 1


def _pixels(lowering: Lowering, op: str) -> bool:
    """Whether operation ``op`` gives pixels, wherever they stand."""
    while isinstance(found := lowering.ops[op], Rearrange | Unfold):
        op = found.source
    return op == "pixels"


def _black(value: Pending) -> Floats:
    """The pixel of each channel that stands for 0."""
    return np.rint(value.centre - value.bias / value.gain)


def _features(lowering: Lowering, layer: Weighted) -> Stored:
    """What the convolution reads, on the grid that it wants."""
    value, scheme = lowering.values[layer.source], lowering.scheme
    if isinstance(value, Pending):
        bits, step = wanted(lowering.traced, layer.node, scheme)
        fmt = unsigned(bits) if value.relu else signed(bits)
        if step is None and scheme.sharing == "union" and isinstance(layer.layer, AdderConv2d):
            fmt = signed(bits)
            features = lowering.ranges.statistics[lowering.root(layer.source).name].most
            reach = max(features, np.abs(_weights(layer)).max())
            step = float(reach) / fmt.hi
        found = lowering.materialize(layer.source, fmt, step)
    else:
        found = lowering.store(layer.source)
    fmt = lowering.format(found.op)
    edge = is_edge(lowering.traced, layer.node, found.op)
    own = Grid(format=fmt, step=found.step) if found.op != "pixels" else None
    lowering.grids[layer.path] = own, scheme.of(layer.path, edge=edge)
    return found


def _factors(lowering: Lowering, layer: Weighted, *, edge: bool) -> tuple[str, Ints, Format, Floats]:
    """Kernel, words, format and steps (O,) of the weights of a layer that multiplies."""
    weight = _weights(layer)
    if isinstance(layer.layer, BinaryConv2d):
        words, steps = _signs(layer, layer.layer)
        return "mult", words, unsigned(1), steps
    if isinstance(layer.layer, ShiftConv2d):
        words, unit = _shift_words(layer.weight)
        return "shift", words, unsigned(4), np.full(len(weight), unit)
    fmt = signed(lowering.scheme.of(layer.path, edge=edge))
    trained = getattr(layer.layer, "integer_weight", None)
    if trained is not None:
        words, steps, fmt = trained()
        return "mult", words.reshape(weight.shape), fmt, steps
    words, steps = per_channel_symmetric(weight, fmt)
    return "mult", words, fmt, steps


def _sums(
    lowering: Lowering, layer: Weighted, source: str, kernel: str, words: Ints, fmt: Format, gain: Floats, *,
    unit: float = 1.0, centre: Floats | None = None, pad: Ints | None = None,
) -> Pending:  # fmt: skip
    """The sums of the convolution of operation ``source`` with ``words`` of ``fmt``.

    Parameters
    ----------
    gain : what a unit of a sum stands for, (O,)
    unit : what a unit of ``source`` stands for
    centre : sum that stands for zero, (O,); None for 0
    pad : word of ``source`` beyond its edge, (C,); None for what stands for the padding of the layer
    """
    window = geometry(layer, lowering.pads.get(layer.source, (0, 0, 0, 0)))
    channels = lowering.shape(source)[0]
    if pad is None:
        pad = np.zeros(channels, np.int64)
        if window["padding"] and kernel == "mult" and isinstance(layer.layer, BinaryConv2d) and layer.layer.border:
            pad -= round(1 / unit)  # a binary layer pads with -1, unless it says otherwise
            given = lowering.format(source)
            if not given.allows(pad):
                raise UserError(f"binary layer at {layer.path!r} pads with -1, which {given} cannot hold")
    name = lowering.emit(
        Convolution(
            name=lowering.unique(layer.path), source=source, kernel=kernel, weight=words, weight_format=fmt, pad=pad,
            **window,
        )
    )  # fmt: skip
    zero, bias = np.zeros(len(words)), layer.bias
    return Pending(
        op=name, gain=gain, centre=zero if centre is None else centre, bias=zero if bias is None else numpy_of(bias)
    )


def _on_pixels(lowering: Lowering, layer: Weighted, value: Pending) -> Pending:
    """A layer that multiplies normalised pixels: their scale goes into its weights, their centre into its sums.

    The framework pads with zeros after normalisation: with the centre.
    """
    path = layer.path
    padded = any(layer.padding) or layer.source in lowering.pads
    pixels = _black(value).astype(np.int64) * padded
    if not lowering.format(value.op).allows(pixels):
        raise UserError(f"layer at {path!r} pads with {pixels.tolist()}, which are no pixels")
    scaled = np.asarray(_weights(layer) * value.gain[None, :, None, None], np.float64)
    fmt = signed(lowering.scheme.of(path, edge=True))
    lowering.grids[path] = None, fmt.bits
    words, steps = per_channel_symmetric(scaled, fmt)
    centre = np.einsum("oikl,i->o", words.astype(np.float64), value.centre - value.bias / value.gain)
    return _sums(lowering, layer, value.op, "mult", words, fmt, steps, centre=centre, pad=pixels)


def _adder(lowering: Lowering, layer: Weighted, stored: Stored) -> Pending:
    """An adder layer, in one part or, where groups of filters want grids of their own, in several: features stored
    once per step, one convolution per group, their sums side by side."""
    scheme, source = lowering.scheme, layer.source
    weight, fmt = _weights(layer), lowering.format(stored.op)
    # A trained layer's batch norm has met its roundings already.
    trained = layer.grid is not None
    patches = None if trained else lowering.ranges.patches.get(layer.node.name)
    groups = [(len(weight), stored.step)]
    free = isinstance(lowering.values[source], Pending) and source not in lowering.layouts
    if free and patches is not None and (scheme.groups > 1 or scheme.ranges == "sums"):
        groups = group_steps(weight, patches, stored.step, fmt, scheme.groups)
    lossless = scheme.sharing == "lossless"
    begin, parts = 0, []
    for count, step in groups:
        some = slice(begin, begin + count)
        of_group = stored if step == stored.step else lowering.materialize(source, fmt, step)
        words, centre = shared_scale(weight[some], step, fmt, lossless=lossless)
        if scheme.correct and lossless and patches is not None:
            centre = centre + replace(patches, sums=patches.sums[:, some]).on_grid(weight[some], step, fmt)[0]
        gain = np.full(count, step)
        own = replace(layer, bias=None if layer.bias is None else layer.bias[some])
        parts.append(_sums(lowering, own, of_group.op, "adder", words, fmt, gain, centre=centre))
        begin += count
    return parts[0] if len(parts) == 1 else _side_by_side(lowering, f"{layer.path}_sums", parts)


def _side_by_side(lowering: Lowering, path: str, parts: list[Pending]) -> Pending:
    """The channels of all parts, as one."""
    name = lowering.emit(
        Concat(name=lowering.unique(path), source=parts[0].op, others=tuple(part.op for part in parts[1:]))
    )
    return Pending(
        op=name,
        gain=np.concatenate([part.gain for part in parts]),
        centre=np.concatenate([part.centre for part in parts]),
        bias=np.concatenate([part.bias for part in parts]),
    )


def _weights(layer: Weighted) -> Floats:
    """(O, I, Kh, Kw)."""
    weight = numpy_of(layer.weight)
    return weight[:, :, None, None] if weight.ndim == 2 else weight


def _signs(layer: Weighted, kind: BinaryConv2d) -> tuple[Ints, Floats]:
    """The signs of a binary layer's weights as bits (O, I, Kh, Kw), and by what each filter multiplies them, (O,)."""
    weight = _weights(layer)
    return (weight >= 0 if kind.at_zero else weight > 0).astype(np.int64), numpy_of(kind.gains)


def _shift_words(weight: Tensor) -> tuple[Ints, float]:
    """A sign above a code of three bits for every weight, and what the code 1 stands for."""
    powers = numpy_of(nearest_powers(weight.detach()))
    magnitudes = np.abs(powers[powers != 0])
    unit = float(magnitudes.max()) / SHIFT_MAX if magnitudes.size else 1.0
    with np.errstate(divide="ignore"):
        code = np.where(powers == 0, 0, np.rint(np.log2(np.abs(powers) / unit)) + 1)
    return (code + 8 * (powers < 0)).astype(np.int64), unit
