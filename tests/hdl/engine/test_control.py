# amaranth: UnusedElaboratable=no
"""Registers of an engine: what software sees of a run, and what it may not do while one goes on."""

import random

import pytest
from addax.hdl.engine.activity import CycleUse
from addax.hdl.engine.control import MAGIC, EngineControl, engine_identity, engine_map
from amaranth.sim import Simulator
from engine_networks import small_plan


def run(bench, plan=None):
    plan = plan or small_plan()
    dut = EngineControl(plan)
    registers = engine_map(plan)

    class Software:
        def __init__(self, ctx):
            self.ctx = ctx

        async def access(self, name, write=0, data=0):
            ctx = self.ctx
            ctx.set(dut.request.valid, 1)
            ctx.set(dut.request.write, write)
            ctx.set(dut.request.address, registers[name].offset)
            ctx.set(dut.request.data, data)
            ctx.set(dut.request.strobe, 15)
            await ctx.tick()
            ctx.set(dut.request.valid, 0)
            _, _, value, refused = await ctx.tick().sample(dut.response.data, dut.response.refused)
            return value, refused

        async def read(self, name):
            return (await self.access(name))[0]

        async def write(self, name, data):
            return (await self.access(name, 1, data))[1]

    async def bench_of(ctx):
        await bench(ctx, dut, Software(ctx))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench_of)
    sim.run()


def test_a_run_is_started_once_and_told_about():
    """Start is a pulse; another one while a run goes on is not heeded and is remembered; places do not move; the
    interrupt stays until it is cleared; cycles are those of the run."""

    async def bench(ctx, dut, software):
        starts = []

        async def started():
            starts.append(ctx.get(dut.start))

        assert await software.read("magic") == MAGIC
        assert await software.read("build") == engine_identity(small_plan()) & 0xFFFFFFFF
        await software.write("base", 0x1234)
        await software.write("first", 16)
        await software.write("words", 0x80000001)
        await software.write("kept", 77)
        places = {"base": 0x1234, "first": 16, "words": 0x80000001, "kept": 77}
        assert {name: ctx.get(getattr(dut, name)) for name in places} == places

        ctx.set(dut.request.valid, 1)
        ctx.set(dut.request.write, 1)
        ctx.set(dut.request.address, engine_map(small_plan())["control"].offset)
        ctx.set(dut.request.data, 3)
        ctx.set(dut.request.strobe, 15)
        await started()
        await ctx.tick()
        ctx.set(dut.request.valid, 0)
        ctx.set(dut.busy, 1)
        await started()
        assert starts == [1, 0], "start is up for one cycle"

        await software.write("control", 3)
        for name in places:
            await software.write(name, 0x99)
            assert ctx.get(getattr(dut, name)) == places[name], "places do not move while a run goes on"
        assert await software.read("status") == 1
        await ctx.tick().repeat(10)
        ctx.set(dut.busy, 0)
        ctx.set(dut.error, 2)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.irq)
        assert await software.read("status") == 2 << 8 | 2
        assert await software.read("events") == 0b110, "a start was not heeded, a run has ended"
        assert await software.read("cycles") == 23
        await software.write("events", 0b110)
        assert await software.read("events") == 0 and not ctx.get(dut.irq)
        assert await software.write("status", 1), "what is read only refuses a write"
        assert await software.read("events") == 1

    run(bench)


@pytest.mark.parametrize("limit", [0, 1, 7, 30])
def test_a_run_is_late_behind_its_limit(limit):
    """For one cycle, behind as many as ``limit`` says, the one of ``start`` among them; never without one."""

    async def bench(ctx, dut, software):
        await software.write("limit", limit)
        ctx.set(dut.request.valid, 1)
        ctx.set(dut.request.write, 1)
        ctx.set(dut.request.address, engine_map(small_plan())["control"].offset)
        ctx.set(dut.request.data, 1)
        ctx.set(dut.request.strobe, 15)
        late = []
        for _ in range(40):
            late.append(ctx.get(dut.late))
            await ctx.tick()
            ctx.set(dut.request.valid, 0)
            ctx.set(dut.busy, 1)
        assert [cycle for cycle, up in enumerate(late) if up] == ([limit + 1] if limit else [])

    run(bench)


@pytest.mark.parametrize("watched", [0, 1, 3])
def test_counters_tell_what_every_cycle_went_to(watched):
    """All cycles of a run by activity, the one of ``start`` among them, and those in which beats are moved meanwhile;
    of one descriptor alone where that is asked for. The next run begins at zero."""
    plan, rng = small_plan(counters=True), random.Random(watched)
    names = [register.name for register in engine_map(plan) if register.counter]

    async def run_once(ctx, dut, software, length):
        expected, number = dict.fromkeys(names, 0), 1
        expected["cycles_descriptors"] = watched in (0, 1)
        await software.write("control", 1)
        ctx.set(dut.busy, 1)
        for _ in range(length):
            activity, read, write, closed = rng.choice(list(CycleUse)), rng.random() < 0.5, rng.random() < 0.3, 0
            if activity == CycleUse.WORK:
                closed = rng.random() < 0.05
            for port, value in ((dut.activity, activity), (dut.read, read), (dut.write, write), (dut.closed, closed)):
                ctx.set(port, value)
            works = activity == CycleUse.WORK
            happens = {
                f"cycles_{activity.name.lower()}": 1, "read_beats": read, "write_beats": write,
                "work_read": works and read, "work_write": works and write, "read_write": read and write,
                "work_read_write": works and read and write,
            }  # fmt: skip
            for name, value in happens.items():
                expected[name] += value and watched in (0, number)
            number += closed
            await ctx.tick()
        ctx.set(dut.busy, 0)
        await ctx.tick().repeat(2)
        assert {name: await software.read(name) for name in names} == expected
        if watched == 0:
            spent = [expected[f"cycles_{activity.name.lower()}"] for activity in CycleUse]
            assert sum(spent) == await software.read("cycles")

    async def bench(ctx, dut, software):
        await software.write("watched", watched)
        await run_once(ctx, dut, software, 1500)
        await run_once(ctx, dut, software, 300)

    run(bench, plan)


def test_counters_need_control_registers():
    with pytest.raises(ValueError, match="counters are read through control registers"):
        small_plan(counters=True, control="none")
