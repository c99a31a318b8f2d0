"""An array that is to be priced, and its circuit between streams as synthesis reads it."""

import math
from dataclasses import dataclass
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...hdl.lanes.array import KernelArray
from ...hdl.lanes.shape import ArrayShape

__all__ = ["TERMS", "TOP", "ArrayRequest"]

TOP = "kernel"

TERMS = 4096
"""Accumulators are wide enough for groups of so many terms, unless asked otherwise."""


@dataclass(frozen=True, kw_only=True)
class ArrayRequest:
    """One array to be priced.

    Attributes
    ----------
    shape : the array
    terms : the longest group its accumulators hold
    dsp : whether synthesis may use DSP blocks
    """

    shape: ArrayShape
    terms: int = TERMS
    dsp: bool = False

    @property
    def structure(self) -> str:
        """Name of the row: the structure, and ``dsp`` where it may use DSP blocks."""
        return "dsp" if self.dsp else self.shape.structure

    @property
    def form(self) -> str:
        """``generic``, or ``device`` where carry cells are instantiated."""
        return "generic" if self.shape.fabric == "generic" else "device"

    def rtlil(self, *, serial: bool = False) -> str:
        """The array between its streams, as a module called ``kernel`` in yosys' own language.

        ``serial`` hides the streams behind a few pins, for placers that need a pin for every port.
        """
        steps = math.ceil(self.terms / self.shape.pin)
        array = KernelArray(self.shape, total=self.shape.total(steps))
        return str(rtlil.convert(_Serial(array) if serial else array, name=TOP, emit_src=False))


class _Serial(wiring.Component):
    """An array whose steps are shifted in and whose sums are shifted out: every way begins and ends at a register."""

    def __init__(self, array: KernelArray):
        self.array = array
        super().__init__({"bit": In(1), "valid": In(1), "ready": In(1), "taken": Out(1), "sums": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.array = array = self.array
        step, sums = array.i.payload.as_value(), array.o.payload.as_value()
        shifted, result = Signal.like(step), Signal.like(sums)
        valid, ready = Signal(), Signal()
        m.d.sync += [
            shifted.eq(Cat(self.bit, shifted)),
            result.eq(Mux(array.o.valid, sums, result >> 1)),
            valid.eq(self.valid),
            ready.eq(self.ready),
            self.taken.eq(array.i.ready),
        ]
        m.d.comb += [
            step.eq(shifted),
            array.i.valid.eq(valid),
            array.o.ready.eq(ready),
            self.sums.eq(result[0]),
        ]
        return m
