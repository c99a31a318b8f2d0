"""Bands: the rows of a layer that are computed together, and the descriptors that several of them share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ....common.errors import UserError
from ....quant.ops.window import Window
from ..layout import TensorLayout
from ..plan import MOST_BYTES, MOST_PIXELS, EnginePlan
from ..records import MOST_APART
from .advice import built_with

__all__ = ["Band", "bands_of", "parts_of"]

EARLY_STEPS = 2
"""Times that its weights take that a step of the smallest band must take, where a band is cut only to begin early."""


@dataclass(frozen=True, kw_only=True)
class Band:
    """Output rows that are computed together.

    Attributes
    ----------
    row, rows : the first of them, and how many
    first_taken, taken : input rows that they need, padding left out
    top : rows of padding above
    alone : it shares its descriptor with no band before it
    resumes, keeps : of a mean that is cut: it goes on with the sums of the band before it, and its own go on
    """

    row: int
    rows: int
    first_taken: int
    taken: int
    top: int
    alone: bool = False
    resumes: bool = False
    keeps: bool = False


def bands_of(
    name: str, window: Window, source: TensorLayout, result: TensorLayout, plan: EnginePlan, *, early: int,
    most_rows: int, runs: int, stacked: int = 1, means: int = 0,
) -> tuple[Band, ...]:  # fmt: skip
    """As few bands as the buffers allow, as equal as can be.

    Parameters
    ----------
    most_rows : of a band
    runs : parts of the source that are used one after the other; two of them are held at once, if there are as many
    stacked : tensors of the shape of the source that are read beside one another, see `EngineLayer`
    means : blocks of rows of a mean of a whole map, which may be cut; 0: it may not
    early : rows of the source that are written before its last band. Where the first band can do with them, and no band
        becomes so small that its weights would take longer than its pixels, it does: then it need not wait.

    Raises
    ------
    UserError
        when one row does not fit, naming the buffer with what it has and what is needed.
    """
    _, height, columns = result.shape
    room = {
        "sums": (plan.pixels, columns, plan.pout * plan.sum_bits // 8),
        "the queue of results": (plan.result_words, columns * result.pixel_words, plan.word_bytes),
    }
    for buffer, (available, needed, size) in room.items():
        if needed > available:
            pixels = _power(-(-needed * plan.pixels // available))
            raise UserError(
                f"a row of {name!r}, {columns} columns, needs {needed * size:,} bytes of {buffer}, the engine has "
                f"{available * size:,}; {built_with('pixels', pixels, MOST_PIXELS)}"
            )
    held = source.blocks // runs * min(runs, 2) * stacked
    if plan.means and means and (parts := _mean_parts(name, window, source, held, means, plan)):
        return parts
    most = min(most_rows, *(available // needed for available, needed, _ in room.values()))
    for count in range(-(-height // min(most, height)), height + 1):
        found = _cut(window, source.shape[1], height, -(-height // count))
        needed = max(band.taken for band in found) * source.row_words * held
        if needed > plan.ring_words:
            continue
        halves = _cut(window, source.shape[1], height, -(-height // (count + 1)))
        small = halves[-1].rows * columns < EARLY_STEPS * plan.set_words
        chosen = found if found[0].taken <= early or halves[0].taken > early or small else halves
        # The window of a descriptor reaches from a row of one tensor to the same row of the next.
        odd = stacked > 1 and chosen[-1].rows != chosen[0].rows
        return (*chosen[:-1], replace(chosen[-1], alone=True)) if odd else chosen
    rows = max(band.taken for band in found)
    other = " or with --means" if means and not plan.means else ""
    raise UserError(
        f"the {rows} rows of {source.shape[0]} channels that one row of {name!r} needs take "
        f"{needed * plan.word_bytes:,} bytes of features, the engine has {plan.feature_bytes:,}; "
        f"{built_with('feature-bytes', _power(needed) * plan.word_bytes, MOST_BYTES)}{other}"
    )


def _mean_parts(
    name: str, window: Window, source: TensorLayout, held: int, blocks: int, plan: EnginePlan
) -> tuple[Band, ...]:  # fmt: skip
    """The rows of a mean, cut where the ring, or a window of a descriptor, does not hold them; none where both do."""
    height, most = window.kernel[0], min(MOST_APART, plan.ring_words // (source.row_words * held))
    if height <= most or most == 0:
        return ()
    if blocks > plan.pixels:
        raise UserError(
            f"the means of {name!r} are cut, and keep {blocks:,} sums; the engine has {plan.pixels:,}; "
            f"{built_with('pixels', _power(blocks), MOST_PIXELS)}"
        )
    rows = -(-height // -(-height // most))
    return tuple(
        Band(
            row=0, rows=1, first_taken=row, taken=min(rows, height - row), top=0, alone=True, resumes=row > 0,
            keeps=row + rows < height,
        )
        for row in range(0, height, rows)
    )  # fmt: skip


def _cut(window: Window, height: int, rows: int, most: int) -> tuple[Band, ...]:
    bands = []
    for row in range(0, rows, most):
        count = min(most, rows - row)
        begin = row * window.strides[0] - window.pads[0]
        end = begin + (count - 1) * window.strides[0] + window.extent[0]
        # A window that lies in the padding alone takes a row that it does not look at.
        first = min(max(begin, 0), height - 1)
        taken = max(min(end, height) - first, 1)
        bands.append(Band(row=row, rows=count, first_taken=first, taken=taken, top=first - begin))
    return tuple(bands)


def parts_of(bands: Sequence[Band]) -> list[tuple[Band, ...]]:
    """``bands`` in parts that one descriptor describes each: only the first band has padding above, and all between
    the first and the last are alike."""
    parts: list[list[Band]] = [[bands[0]]]
    for _, band in pairwise(bands):
        part = parts[-1]
        alike = len(part) < 3 or (part[1].rows, part[1].taken) == (part[-1].rows, part[-1].taken)
        if band.top == 0 and alike and not band.alone:
            part.append(band)
        else:
            parts.append([band])
    return [tuple(part) for part in parts]


def _power(words: int) -> int:
    return 1 << (words - 1).bit_length()
