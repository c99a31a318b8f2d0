# amaranth: UnusedElaboratable=no
"""Products and tables of an engine, each by itself against loops over Python integers."""

import random

import pytest
from addax.common.errors import UserError
from addax.hdl.engine.control import engine_identity
from addax.hdl.engine.core.loader import StepLoader
from addax.hdl.engine.core.products import Products
from addax.hdl.engine.core.tables import RowTables
from addax.hdl.engine.plan import EnginePlan
from addax.hdl.engine.records import Unit, constants_record
from amaranth.sim import Simulator
from engine_blocks import cycles_of, fields, packed
from engine_networks import small_plan


def ends(rng, fmt):
    """A number of a format; its ends are common."""
    return rng.choice([fmt.lo, fmt.hi, 0 if fmt.lo <= 0 else fmt.lo, rng.randint(fmt.lo, fmt.hi)])


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("sign, factor_sign", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_elements_are_multiplied_with_their_signs(bits, sign, factor_sign):
    """Both come counted from the lowest value of their format; a pixel in every cycle; the residual joins nothing."""
    plan, rng = (
        small_plan(bits=bits, pin=64 // bits, pout=64 // bits, product=True),
        random.Random(bits + 2 * sign + factor_sign),
    )
    dut, lowest, other = Products(plan), -(sign << bits - 1), -(factor_sign << bits - 1)
    span = (1 << bits) - 1
    pixels = [[(rng.choice([0, span, rng.randint(0, span)]), rng.choice([0, span, rng.randint(0, span)]))
               for _ in range(plan.pout)] for _ in range(12)]  # fmt: skip

    def drive(cycle):
        own = pixels[min(cycle, len(pixels) - 1)]
        return {"sums": packed([a for a, _ in own], plan.sum_bits), "product": 1, "valid": cycle < len(pixels),
                "residuals": packed([b for _, b in own], plan.residual.bits), "signed": sign,
                "residual_signed": factor_sign}  # fmt: skip

    seen = cycles_of(dut, drive, len(pixels) + dut.latency, "done", "totals", "joins")

    assert [done for done, _, _ in seen] == [0] * dut.latency + [1] * len(pixels)
    for own, (_, totals, joins) in zip(pixels, seen[dut.latency :], strict=True):
        assert fields(totals, plan.sum_bits, plan.pout) == [(a + lowest) * (b + other) for a, b in own]
        assert joins == 0


def test_sums_and_residuals_pass_where_nothing_is_multiplied():
    """Widest sums and residuals, as they are, whatever the signs say."""
    plan, rng = small_plan(product=True), random.Random(3)
    dut = Products(plan)
    pixels = [[(ends(rng, plan.total), ends(rng, plan.residual)) for _ in range(plan.pout)] for _ in range(12)]

    def drive(cycle):
        own = pixels[min(cycle, len(pixels) - 1)]
        return {"sums": packed([plan.total.encode(a) for a, _ in own], plan.sum_bits), "product": 0, "signed": 1,
                "residuals": packed([plan.residual.encode(b) for _, b in own], plan.residual.bits),
                "residual_signed": cycle & 1}  # fmt: skip

    seen = cycles_of(dut, drive, len(pixels) + dut.latency, "totals", "joins")

    for own, (totals, joins) in zip(pixels, seen[dut.latency :], strict=True):
        assert fields(totals, plan.sum_bits, plan.pout) == [a for a, _ in own]
        assert fields(joins, plan.residual.bits, plan.pout) == [b for _, b in own]


@pytest.mark.parametrize("entries", [5, 16])
def test_results_are_looked_up_in_the_table_of_their_row(entries):
    """Words of entries may come with gaps; behind `begin` another table takes the place of the first; what is not
    looked up passes. Values stay until the next pixel's."""
    plan, rng = small_plan(tables=4), random.Random(entries)
    dut, n = RowTables(plan), plan.pout
    script, expected = [], {}
    for look in (1, 0, 1):
        tables = [[rng.getrandbits(plan.bits) for _ in range(entries)] for _ in range(n)]
        for k in range(entries * look):
            script += [{"load": 0}] * rng.randrange(2)
            script.append({"load": 1, "word": packed([table[k] for table in tables], plan.bits), "begin": 0})
        script.append({"load": 0, "begin": 1})
        for _ in range(8):
            own = [rng.randrange(entries) if look else rng.getrandbits(plan.result.bits) for _ in range(n)]
            found = [table[k] for table, k in zip(tables, own, strict=True)] if look else own
            first, wait = len(script) + dut.latency, rng.randrange(3)
            expected |= dict.fromkeys(range(first, first + 1 + wait), (first, look, found))
            script.append({"begin": 0, "valid": 1, "look": look, "results": packed(own, plan.result.bits)})
            script += [{"valid": 0}] * wait
        script += [{"valid": 0}] * dut.latency

    seen = cycles_of(dut, lambda cycle: script[cycle], len(script), "done", "values")

    assert [k for k, (done, _) in enumerate(seen) if done] == sorted({first for first, _, _ in expected.values()})
    for cycle, (_, look, found) in expected.items():
        values = fields(seen[cycle][1], plan.result.bits, n, sign=False)
        assert [value & (1 << plan.bits) - 1 if look else value for value in values] == found, cycle


@pytest.mark.parametrize("loads", [0, 1])
def test_table_comes_in_front_of_the_constants_when_no_result_is_on_its_way(loads):
    """So many words as it has entries, then those of the constants; a step without takes none."""
    plan, entries, quiet = small_plan(tables=4), 11, 9
    dut = StepLoader(plan)
    kinds, taken = ("table", "constant", "weight"), []

    async def bench(ctx):
        step = {"unit": Unit.ARRAY, "last": 1, "loads": loads, "table": entries}
        ctx.set(dut.i.payload, dut.i.payload.shape().const(step))
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.words.valid, 1)
        for cycle in range(60):
            ctx.set(dut.quiet, cycle >= quiet)
            _, _, accepted, *flags = await ctx.tick().sample(dut.i.ready, *(getattr(dut, kind) for kind in kinds))
            taken.append([kind for kind, flag in zip(kinds, flags, strict=True) if flag])
            if accepted:
                ctx.set(dut.i.valid, 0)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()

    assert not any(taken[:quiet])
    constants = constants_record(plan).words(plan.bits)
    order = [kind for (kind,) in filter(None, taken)]
    assert order == ["table"] * (entries * loads) + ["constant"] * constants + ["weight"] * plan.pout


def test_engine_without_them_is_the_same_build_as_before():
    """Its JSON has neither value, so its hash and every image for it stay; with them they differ."""
    plan = small_plan()
    assert not {"product", "tables"} & set(plan.to_json())
    with_both = small_plan(product=True, tables=8)
    assert EnginePlan.from_json(with_both.to_json()) == with_both
    assert len({engine_identity(p) for p in (plan, small_plan(product=True), small_plan(tables=8), with_both)}) == 4


@pytest.mark.parametrize("changes", [{"tables": 13}, {"tables": -1}, {"product": 1}, {"tables": True}])
def test_impossible_plans_are_refused(changes):
    """Bits that no block RAM has, and numbers where a choice is meant."""
    with pytest.raises(UserError, match="not a plan"):
        EnginePlan.from_json({**small_plan().to_json(), **changes})
