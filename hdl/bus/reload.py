"""Writing memories from outside: the wires to all of them, and what puts a word together from words of the bus."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..memory.image import Image, WritePort
from .register_map import WORD, WritableMemory

__all__ = ["Loader", "Reload", "port_of"]


class Reload:
    """The wires that write memories: address and word are shared, every memory has an enable of its own.

    Attributes
    ----------
    enable : a bit per memory, for one cycle
    address : wide enough for the largest; lower bits go to smaller ones
    parts : the words of the bus that came last, the latest highest
    """

    def __init__(self, memories: Sequence[WritableMemory]):
        self.memories = tuple(memories)
        self.enable = Signal(max(1, len(memories)), name="reload_enable")
        self.address = Signal(range(max([2, *(memory.depth for memory in memories)])), name="reload_address")
        most = max((memory.parts for memory in memories), default=1)
        self.parts = Signal(WORD * most, name="reload_parts")

    def word_of(self, memory: WritableMemory) -> Value:
        """The word that ``memory`` takes: of its last parts, the highest."""
        begin = len(self.parts) - WORD * memory.parts
        return self.parts[begin : begin + memory.width]


def port_of(reload: Reload | None, image: Image) -> WritePort | None:
    """The wires of the memory that holds ``image``; None when it cannot be written."""
    memory = None if reload is None else next((m for m in reload.memories if m.name == image.name), None)
    if reload is None or memory is None:
        return None
    return WritePort(enable=reload.enable[memory.number], address=reload.address, data=reload.word_of(memory))


class Loader(wiring.Component):
    """Puts words together, lowest part first, and writes each when its last part has come, one cycle later.

    Members
    -------
    select_written, address_written, data_written : In; in that cycle ``data`` is the new value, or the next part
    select, address : Out; number of the memory and the word that is written next
    width, depth : Out; of the selected memory, 0 when there is none
    inside : Out; memory and word exist
    writing : Out; a memory is written in this cycle

    Parameters
    ----------
    reload : the wires that it drives
    """

    def __init__(self, reload: Reload):
        self.reload = reload
        super().__init__({
            "select_written": In(1),
            "address_written": In(1),
            "data_written": In(1),
            "data": In(WORD),
            "select": Out(WORD),
            "address": Out(WORD),
            "width": Out(WORD),
            "depth": Out(WORD),
            "inside": Out(1),
            "writing": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        wires = self.reload
        most = len(wires.parts) // WORD
        part, last = Signal(range(max(2, most))), Signal(range(max(2, most)))
        with m.Switch(self.select):
            for memory in wires.memories:
                with m.Case(memory.number):
                    m.d.comb += [
                        self.width.eq(memory.width), self.depth.eq(memory.depth), last.eq(memory.parts - 1),
                    ]  # fmt: skip
        m.d.comb += [
            self.inside.eq(self.address < self.depth),
            self.writing.eq(wires.enable.any()),
        ]
        m.d.sync += wires.enable.eq(0)
        with m.If(self.data_written):
            m.d.sync += [
                wires.parts.eq(Cat(wires.parts, self.data)[WORD:]), part.eq(Mux(part == last, 0, part + 1)),
            ]  # fmt: skip
            with m.If(part == last):
                m.d.sync += [
                    wires.enable.eq(_one_hot(self.select, len(wires.enable))),
                    wires.address.eq(self.address),
                    self.address.eq(self.address + 1),
                ]
        with m.If(self.address_written):
            m.d.sync += [self.address.eq(self.data), part.eq(0)]
        with m.If(self.select_written):
            m.d.sync += [self.select.eq(self.data), self.address.eq(0), part.eq(0)]
        return m


def _one_hot(number: Value, count: int) -> Value:
    return Cat(number == k for k in range(count))
