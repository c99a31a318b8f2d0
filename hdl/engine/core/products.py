"""Products of two tensors: what a pool hands on, multiplied by the residual of its pixel."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.hdl import signed as signed_shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...streams.delay import later
from ..plan import EnginePlan

__all__ = ["Products"]


class Products(wiring.Component):
    """In front of the requantisers: sums as they are, or in their place the products of elements.

    What a pool hands on and a residual of one word count from the lowest value of their format. Here both get their
    sign back, which only inverts their highest bit. Whichever of sum and product is not meant is 0, by the reset of a
    register, so that a multiplier with an adder behind it makes both.

    Members
    -------
    sums : In, ``pout`` of ``plan.total``
    residuals : In, ``pout`` of ``plan.residual``
    valid : In, there is a pixel
    product : In, its elements are multiplied, and its residual is 0 behind that; like the signs it must not change
        while a pixel is on its way
    signed, residual_signed : In, elements of the pool and residuals have a sign
    totals, joins, done : Out, what the requantisers take, in the formats of ``sums`` and ``residuals``, ``latency``
        cycles later
    """

    latency = 2

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        sums, residuals = plan.pout * plan.sum_bits, plan.pout * plan.residual.bits
        super().__init__({
            "sums": In(sums), "residuals": In(residuals), "valid": In(1), "product": In(1), "signed": In(1),
            "residual_signed": In(1), "totals": Out(sums), "joins": Out(residuals), "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan = self.plan
        totals, joins = [], []
        for row in range(plan.pout):
            total = self.sums.word_select(row, plan.sum_bits)
            residual = self.residuals.word_select(row, plan.residual.bits)
            product = self._product(m, row, total, residual)
            kept, waits = (Signal(signed_shape(plan.sum_bits), name=f"{name}{row}", reset_less=True)
                           for name in ("kept", "waits"))  # fmt: skip
            joined, join = (Signal(plan.residual.bits, name=f"{name}{row}", reset_less=True)
                            for name in ("joined", "join"))  # fmt: skip
            m.d.sync += [
                kept.eq(Mux(self.product, 0, total)), waits.eq(kept), joined.eq(Mux(self.product, 0, residual)),
                join.eq(joined),
            ]  # fmt: skip
            totals.append((waits + product)[: plan.sum_bits])
            joins.append(join)
        m.d.comb += [self.totals.eq(Cat(totals)), self.joins.eq(Cat(joins))]
        m.d.comb += self.done.eq(later(m, self.valid, self.latency, name="done"))
        return m

    def _product(self, m: Module, row: int, total: Value, residual: Value) -> Value:
        """Two ranks later: of the elements in ``total`` and ``residual``, or 0."""
        operands = []
        for name, raw, sign in (("element", total, self.signed), ("factor", residual, self.residual_signed)):
            low, top = raw[: self.plan.bits - 1], raw[self.plan.bits - 1] ^ sign
            operand = Signal(signed_shape(self.plan.operand.bits), name=f"{name}{row}", reset_less=True)
            m.d.sync += operand.eq(Mux(self.product, Cat(low, top, top & sign).as_signed(), 0))
            operands.append(operand)
        product = Signal(signed_shape(2 * self.plan.operand.bits), name=f"product{row}", reset_less=True)
        m.d.sync += product.eq(operands[0] * operands[1])
        return product
