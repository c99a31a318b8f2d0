"""Descriptors of layers, as numbers for the fields of `records.descriptor_record`."""

from collections.abc import Mapping
from dataclasses import asdict

from ....common.errors import UserError
from ..layout import TensorLayout
from ..plan import EnginePlan
from ..records import ACTIVATIONS, PASSES, Unit, descriptor_record
from .bands import Band
from .reading.groups import RowWalk, row_walk
from .reading.layers import EngineLayer, TokenNorm
from .weights import has_own_tables, is_padded, table_entries

__all__ = ["descriptor"]


_NO_NORM = TokenNorm(channels=0, fraction=0, eps=0, digits=0, places=0, longest=0)


def _token_values(layer: EngineLayer, plan: EnginePlan) -> dict[str, int]:
    """Of layers whose bands go by twice, and of those that divide."""
    values: dict[str, int] = {}
    if plan.norms:
        values |= {"norm": layer.norm is not None, **asdict(layer.norm or _NO_NORM)}
    if plan.softmax:
        values["softmax"] = layer.softmax
    if plan.divide:
        values["divides"] = layer.divides
    return values


def descriptor(
    layer: EngineLayer, part: tuple[Band, ...], layouts: Mapping[str, TensorLayout], result: TensorLayout,
    plan: EnginePlan, *, last: bool,
) -> dict[str, int]:  # fmt: skip
    """The descriptor of some bands of a layer; ``result`` is what it computes, before pixels are shuffled.

    Raises
    ------
    UserError
        for a number that its field does not hold.
    """
    source, window = layouts[layer.source], layer.window
    columns, width, ring = result.shape[2], source.row_words, plan.ring_words
    cut = part[0].resumes or part[0].keeps
    residual = layouts[layer.residual] if layer.residual is not None and not part[0].keeps else None
    values: dict[str, int] = {}
    # A part of one band has a first one alone, and one of two no middle one.
    chosen = {"first": part[0], "middle": part[1 if len(part) > 2 else 0], "final": part[-1]}
    stacked, pool = max(len(layer.stacked), 1), layer.unit is not Unit.ARRAY
    for which, band in chosen.items():
        values |= {
            f"rows_{which}": band.rows, f"taken_{which}": band.taken * stacked,
            f"pixels_{which}": band.rows * columns, f"chunk_{which}": band.taken * stacked * width,
        }  # fmt: skip
    stride_rows, walk = window.strides[0], row_walk(window, layer.together, width)
    down, taps = (part[0].rows, stacked) if layer.stacked else (window.dilations[0], window.kernel[0])
    stacks = pool and not layer.twice
    if cut:
        taps = part[0].taken
    values |= _options(layer, part, walk, source, plan)
    values |= {
        "unit": layer.unit, "kernel": plan.kernels.index(layer.kernel) if layer.kernel else 0, "last": last,
        "signed": source.format.signed, "padded": is_padded(layer), "residual": residual is not None,
        "residual_signed": residual is not None and residual.format.signed,
        "residual_words": residual.pixel_words if residual is not None else 0, "result_words": result.pixel_words,
        "bands": len(part), "in_blocks": layer.blocks(plan) // layer.groups if stacks else layer.inputs(plan),
        "out_blocks": _passes(layer, plan), "columns": columns, "width": width,
        "kernel_rows": taps, "kernel_columns": walk.parts, "top": part[0].top, "left": walk.left,
        "stride_rows": stride_rows, "stride_columns": walk.stride, "dilation_rows": down,
        "dilation_columns": walk.apart, "origin": (-part[0].top * width - walk.left) % ring,
        "next_row": (stride_rows * width - walk.stride * (walk.words(columns) - 1)) % ring,
        "next_line": (down * width - walk.apart * (walk.parts - 1)) % ring, "low": layer.low, "high": layer.high,
    }  # fmt: skip
    for field in descriptor_record(plan).fields:
        if not field.format.lo <= values[field.name] <= field.format.hi:
            raise UserError(
                f"{layer.name!r} has {values[field.name]:,} {field.meaning}; a descriptor of the engine holds "
                f"{field.format.lo} to {field.format.hi:,}"
            )
    return values


def _passes(layer: EngineLayer, plan: EnginePlan) -> int:
    """Times that a band's words go by."""
    if layer.twice:
        return PASSES
    return layer.blocks(plan) // layer.groups if layer.unit is Unit.ARRAY else 1


def _options(
    layer: EngineLayer, part: tuple[Band, ...], walk: RowWalk, source: TensorLayout, plan: EnginePlan
) -> dict[str, int]:  # fmt: skip
    """What only an engine with some option has."""
    values: dict[str, int] = {}
    if plan.means:
        values |= {"resumes": part[0].resumes, "keeps": part[0].keeps}
    if plan.grouped:
        values["groups"] = layer.groups
    if plan.matmul:
        signs = layer.kernel == "adder" and source.format.signed
        values |= {"turned": layer.turned, "inverted": layer.other is not None and signs}
    if plan.depthwise:
        values |= {
            "depthwise": layer.together > 0, "lead": walk.lead, "shared": walk.shared, "between": walk.between,
            "kept": walk.kept,
        }  # fmt: skip
    if plan.product:
        values |= {"product": layer.product, "hold": layer.hold}
    if plan.tables:
        values |= {"table": table_entries(layer), "own_tables": has_own_tables(layer)}
    if plan.choices:
        values["across"] = layer.across
    if plan.predicates:
        values["marks"] = layer.marks
    values |= _token_values(layer, plan)
    used = {"slopes": layer.second is not None, "ties_even": layer.even, "levels": layer.levels is not None}
    return values | {name: used[name] for name in ACTIVATIONS if getattr(plan, name)}
