"""What a network that the compiler does not take yet would cost on an engine: a model of its layers, not of its image.

The engine of a Plan has no vector unit yet; here it has one, of `VECTOR` elements in a cycle, beside the array. Every
layer takes the longest of four times, as if each of them hid the others behind it: the array's, that of reads, that of
writes, and the vector unit's; then the next layer begins. Layers and products are counted in torch, by
`models.nets.counting`; additions of shortcuts cost the words that they move alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...hdl.engine.plan import EnginePlan
from ...models.nets.counting import OF_CONTEXT, LaneWork
from ..power.asic45 import BUFFER_PJ, term_energy

__all__ = ["VECTOR", "ModelledRun", "modelled"]

VECTOR = 16
"""Elements that the vector unit takes in a cycle."""
_BEGIN = 32 + 20
"""Cycles between layers: descriptors, and the latency of memory."""
_BAND = 6
"""Cycles with which a band begins."""
_CONSTANTS = 13
"""Words of a block of output channels beside its weights."""
_PASSES = {"softmax": 1, "gelu": 1, "layernorm": 2}
"""How many times the vector unit takes an element: a norm first sums, then scales. Softmax divides its context."""


@dataclass(frozen=True, kw_only=True)
class ModelledRun:
    """One image on an engine, modelled.

    Attributes
    ----------
    cycles : of all layers, one after the other
    array, vector : cycles of them in which lanes, or the vector unit, are at work
    attention : cycles of the layers that are products of two tensors
    read, written : words from and to memory
    lanes_pj, buffers_pj : energy of the terms, and of the words that leave or enter a buffer on the chip, each word
        once, by figures of 45 nm. The vector unit, registers, clock, wires and the memory outside have no figure
    """

    cycles: int = 0
    array: int = 0
    vector: int = 0
    attention: int = 0
    read: int = 0
    written: int = 0
    lanes_pj: float = 0.0
    buffers_pj: float = 0.0

    @property
    def energy_uj(self) -> float:
        """Energy of lanes and buffers, uJ."""
        return (self.lanes_pj + self.buffers_pj) / 1e6

    def __add__(self, other: "ModelledRun") -> "ModelledRun":
        return ModelledRun(**{name: own + getattr(other, name) for name, own in vars(self).items()})


def modelled(plan: EnginePlan, works: Sequence[LaneWork], *, vector: int = VECTOR) -> ModelledRun:
    """A network of ``works`` on the engine of ``plan``, whose lanes have all of their kernels.

    Parameters
    ----------
    vector : elements that its vector unit takes in a cycle

    Raises
    ------
    KeyError
        for ``xnor``, which has no figure of energy.
    """
    total = ModelledRun()
    for work in works:
        total += _layer(plan, work, vector)
    return total


def _layer(plan: EnginePlan, work: LaneWork, vector: int) -> ModelledRun:
    words, taps = _words_and_taps(plan, work)
    stored = -(-words // plan.read_parts)
    outputs = -(-work.outputs // plan.pout)
    sets = outputs * taps * words
    array = read = bands = 0
    for pixels, features in _bands(plan, work, stored):
        array += sets * max(pixels, plan.set_words + 1)
        read += features + sets * plan.set_words + outputs * _CONSTANTS
        bands += 1
    array, read = work.groups * array, work.groups * read
    norms = -(-work.functions.get("layernorm", 0) // plan.channels)
    made = -(-outputs // plan.made_parts)
    written = work.groups * work.pixels * made + norms  # what is normed stays for the shortcut
    read += norms
    elements = sum(count * _PASSES[name] for name, count in work.functions.items())
    elements += work.groups * work.pixels * work.outputs * (work.product == OF_CONTEXT)
    busy = -(-elements // vector)
    cycles = max(array, read * plan.beats, written * plan.beats, busy) + _BEGIN + _BAND * bands
    return ModelledRun(
        cycles=cycles, array=array, vector=busy, attention=cycles if work.product else 0, read=read, written=written,
        lanes_pj=work.macs * term_energy(work.kernel, plan.bits),
        buffers_pj=(array + 2 * read + 2 * written) * plan.word_bits * BUFFER_PJ,
    )  # fmt: skip


def _words_and_taps(plan: EnginePlan, work: LaneWork) -> tuple[int, int]:
    """Blocks of channels of an input pixel, and taps of the window: of few channels all columns of the window stand in
    them, side by side, see docs/engine.md, Mappings."""
    rows, columns = work.window
    plain, folded = -(-work.inputs // plan.pin), -(-work.inputs * columns // plan.pin)
    if work.inputs < plan.pin and folded < plain * columns:
        return folded, rows
    return plain, rows * columns


def _bands(plan: EnginePlan, work: LaneWork, words: int) -> Iterator[tuple[int, int]]:
    """Pixels of each band of a group, and the words of features that it reads: as many rows as the sums have room for,
    and the ring for their inputs."""
    rows = -(-work.pixels // work.columns)
    row = work.columns * words * work.stride
    reach = max(work.window[0], work.stride) - work.stride
    room = (plan.ring_words // row - reach) // work.stride
    most = max(1, min(plan.pixels // work.columns, room))
    for begin in range(0, rows, most):
        own = min(most, rows - begin)
        yield own * work.columns, (own * work.stride + reach) * row
