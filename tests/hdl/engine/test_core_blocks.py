# amaranth: UnusedElaboratable=no
"""The blocks of the computing half, each by itself against loops over Python integers."""

import random

import pytest
from addax.hdl.engine.core.columns import WindowColumns
from addax.hdl.engine.core.issuer import Issuer
from addax.hdl.engine.core.lanes import HeldWeights, Lanes
from addax.hdl.engine.core.requantisers import _OPERAND_BITS, Requantisers
from addax.hdl.engine.core.results import Residuals, ResultWords
from addax.hdl.engine.core.steps import Planner
from addax.hdl.engine.core.sums import PixelSums
from addax.hdl.engine.plan import SHIFT_STEP
from addax.hdl.engine.records import Unit, constants_record, descriptor_record
from addax.quant.formats import signed
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator
from engine_blocks import cycles_of, fields, packed
from engine_networks import small_plan


def term(kernel, x, w, bits):
    """What a lane adds for a feature and a word of weights."""
    if kernel == "shift":
        return (0 if not w & 7 else 1 << (w & 7) - 1) * (-1 if w >> 3 & 1 else 1) * x
    return x * signed(bits).decode(w)


@pytest.mark.parametrize("bits", [16, pytest.param(8, marks=pytest.mark.slow)])
def test_lanes_add_the_terms_of_their_kernel(bits):
    """Every kernel of one build, with and without sign, a pixel in every cycle; extremes are common."""
    plan = small_plan(bits=bits, pin=4 if bits == 16 else 8, pout=4 if bits == 16 else 8)
    dut, rng, n = Lanes(plan), random.Random(bits), plan.pin
    kernels = list(plan.kernels)
    tall = [[rng.choice([0, (1 << bits) - 1, 1 << bits - 1, rng.getrandbits(bits)]) for _ in range(n)]
            for _ in range(n)]  # fmt: skip
    steps = [(rng.randrange(len(kernels)), rng.getrandbits(1),
              [rng.choice([0, (1 << bits) - 1, 1 << bits - 1, rng.getrandbits(bits)]) for _ in range(n)])
             for _ in range(16)]  # fmt: skip

    def drive(cycle):
        _, sign, xs = steps[min(cycle, len(steps) - 1)]
        late = steps[max(0, min(cycle - dut.latency + 1, len(steps) - 1))]
        weights = packed([w for row in tall for w in row], bits)
        return {"x": packed(xs, bits), "signed": sign, "kernel": late[0], "weights": weights}

    seen = cycles_of(dut, drive, len(steps) + dut.latency, "words", "carries")

    for number, (kernel, sign, xs) in enumerate(steps):
        words, carries = seen[number + dut.latency]
        got = [w + (carries >> k & 1) for k, w in enumerate(fields(words, dut.step.bits, n, sign=dut.step.signed))]
        values = [x - (sign << bits) if x >> bits - 1 else x for x in xs]
        lowest = -(1 << bits - 1) if sign else 0
        for row, total in zip(tall, got, strict=True):
            if kernels[kernel] == "adder":
                assert total == sum(abs(x - lowest - w) for x, w in zip(values, row, strict=True))
            else:
                assert total == sum(term(kernels[kernel], x, w, bits) for x, w in zip(values, row, strict=True))


def test_row_takes_its_own_channel_of_some_words():
    """What the last words hold of a row's channel in its first lanes, 0 in the others, of adders as they count it; in
    the next cycle all rows have the same features again."""
    kernels = ("adder", "mult", "xnor", "shift")
    plan, rng = small_plan(bits=8, pin=8, pout=8, kernels=kernels, depthwise=3), random.Random(7)
    dut, n = Lanes(plan), plan.pin
    tall = [[rng.getrandbits(8) for _ in range(n)] for _ in range(n)]
    steps = [(rng.randrange(4), rng.getrandbits(1), rng.getrandbits(1), [rng.getrandbits(8) for _ in range(n)],
              [[rng.getrandbits(8) for _ in range(n)] for _ in range(3)]) for _ in range(32)]  # fmt: skip

    def drive(cycle):
        _, own, sign, xs, columns = steps[min(cycle, len(steps) - 1)]
        late = steps[max(0, min(cycle - dut.latency + 1, len(steps) - 1))]
        return {"x": packed(xs, 8), "signed": sign, "kernel": late[0], "depthwise": own,
                "weights": packed([w for row in tall for w in row], 8),
                "columns": packed([x for word in columns for x in word], 8)}  # fmt: skip

    seen = cycles_of(dut, drive, len(steps) + dut.latency, "words", "carries")

    for number, (kernel, own, sign, xs, columns) in enumerate(steps):
        words, carries = seen[number + dut.latency]
        got = [w + (carries >> k & 1) for k, w in enumerate(fields(words, dut.step.bits, n, sign=dut.step.signed))]
        lowest = -128 if sign and kernels[kernel] == "adder" else 0
        for row, weights in enumerate(tall):
            values = [x - (sign << 8) if x >> 7 else x for x in ([word[row] for word in columns] if own else xs)]
            pairs = list(zip(values + [lowest] * (n - len(values)), weights, strict=True))
            if kernels[kernel] == "adder":
                assert got[row] == sum(abs(x - lowest - w) for x, w in pairs)
            elif kernels[kernel] == "xnor":
                assert got[row] == sum((x ^ w) & 1 == 0 for x, w in pairs)
            else:
                assert got[row] == sum(term(kernels[kernel], x, w, 8) for x, w in pairs)


def test_columns_are_the_last_words_that_were_asked_for():
    """Words of other cycles do not count; as many as are wanted, the others are 0 at once."""
    plan, rng = small_plan(depthwise=3), random.Random(8)
    dut, bits = WindowColumns(plan), plan.word_bits
    script = [(rng.getrandbits(bits), rng.getrandbits(1), rng.randint(1, 3)) for _ in range(60)]

    def drive(cycle):
        word, valid, together = script[cycle]
        return {"x": word, "valid": valid, "together": together}

    seen = [fields(columns, bits, 3, sign=False) for (columns,) in cycles_of(dut, drive, len(script), "columns")]

    held = [0, 0]
    for (word, valid, together), columns in zip(script, seen, strict=True):
        assert columns == [word, *held]
        held = [word, held[0]] if valid else held
        held = [value if k + 1 < together else 0 for k, value in enumerate(held)]


def test_weights_are_held_while_the_next_ones_come():
    """The first word is that of output channel 0; a swap may fall together with the first word of the set after."""
    plan, rng = small_plan(), random.Random(1)
    dut, n = HeldWeights(plan), plan.pout
    words = [rng.getrandbits(plan.word_bits) for _ in range(3 * n)]

    def drive(cycle):
        return {"word": words[min(cycle, len(words) - 1)], "shift": cycle < 3 * n, "swap": cycle in (n, 2 * n)}

    seen = [fields(weights, plan.word_bits, n, sign=False) for (weights,) in cycles_of(dut, drive, 3 * n, "weights")]

    assert all(seen[cycle] == words[:n] for cycle in range(n + 1, 2 * n + 1))
    assert all(seen[cycle] == words[n : 2 * n] for cycle in range(2 * n + 1, 3 * n))


def test_sums_of_pixels_are_kept_apart():
    """Rounds of pixels whose steps come one behind the other, and four pixels at the least."""
    plan, rng = small_plan(), random.Random(2)
    step = signed(24)
    dut = PixelSums(plan, step)
    script, expected = [], {}
    for _ in range(6):
        pixels, rounds = rng.randint(4, plan.pixels), rng.randint(1, 4)
        totals = [[0] * plan.pout for _ in range(pixels)]
        for number in range(rounds):
            for pixel in range(pixels):
                added = [rng.randint(step.lo, step.hi - 1) for _ in range(plan.pout)]
                carries = [rng.getrandbits(1) for _ in range(plan.pout)]
                totals[pixel] = [t + a + c for t, a, c in zip(totals[pixel], added, carries, strict=True)]
                script.append((pixel, packed([step.encode(a) for a in added], step.bits), packed(carries, 1),
                               number == 0, number == rounds - 1))  # fmt: skip
                if number == rounds - 1:
                    expected[len(script)] = totals[pixel]

    def drive(cycle):
        inputs = {"fetch": script[cycle][0] if cycle < len(script) else 0, "valid": 0}
        if 0 < cycle <= len(script):
            inputs["fresh"] = script[cycle - 1][3]
        if 1 < cycle <= len(script) + 1:
            _, words, carries, _, last = script[cycle - 2]
            inputs |= {"words": words, "carries": carries, "last": last, "valid": 1}
        return inputs

    seen = cycles_of(dut, drive, len(script) + 4, "done", "sums")

    found = {k - 2: fields(sums, plan.sum_bits, plan.pout) for k, (done, sums) in enumerate(seen) if done}
    assert found == expected


@pytest.mark.parametrize("operand", [64, 18])
def test_requantisers_round_and_clamp_as_numerics_says(operand, monkeypatch):
    """Constants come element by element; every channel has its own, with a residual. Multipliers may be narrower than
    the numbers."""
    monkeypatch.setitem(_OPERAND_BITS, "generic", operand)
    plan, rng = small_plan(), random.Random(3)
    dut, record = Requantisers(plan), constants_record(plan)
    factor = plan.residual_factor
    constants = [{"multiplier": rng.randint(-131068, 131068), "offset": rng.randint(-1 << 40, 1 << 40),
                  "shift": rng.randint(0, 40), "residual_multiplier": rng.randint(factor.lo + 1, factor.hi)}
                 for _ in range(plan.pout)]  # fmt: skip
    for constant in constants:
        constant["shift"] //= SHIFT_STEP
    elements = list(zip(*(record.split(c, plan.bits) for c in constants), strict=True))
    low, high = -50_000, 90_000
    pixels = [([rng.randint(-1 << 40, 1 << 40) for _ in constants], [rng.randint(-65536, 65535) for _ in constants])
              for _ in range(20)]  # fmt: skip

    def drive(cycle):
        at = cycle - len(elements)
        limits = {"low": low & ((1 << plan.result.bits) - 1), "high": high}
        if at < 0:
            return {"word": packed(elements[cycle], plan.bits), "shift": 1, **limits}
        sums, residuals = pixels[min(at, len(pixels) - 1)]
        words = packed([plan.total.encode(s) for s in sums], plan.sum_bits)
        return {"shift": 0, "valid": at < len(pixels), "sums": words,
                "residuals": packed([plan.residual.encode(r) for r in residuals], plan.residual.bits)}  # fmt: skip

    seen = cycles_of(dut, drive, len(elements) + len(pixels) + dut.latency, "done", "results")

    begin = len(elements) + dut.latency
    assert [k for k, (done, _) in enumerate(seen) if done] == list(range(begin, begin + len(pixels)))
    for (sums, residuals), (_, results) in zip(pixels, seen[begin:], strict=True):
        wide = [s * c["multiplier"] + r * c["residual_multiplier"] + c["offset"] >> SHIFT_STEP * c["shift"]
                for s, r, c in zip(sums, residuals, constants, strict=True)]  # fmt: skip
        assert fields(results, plan.result.bits, plan.pout) == [min(max(w, low), high) for w in wide]


@pytest.mark.parametrize("largest", [True, False])
def test_pools_take_taps_one_behind_the_other(largest):
    """The largest and the sum, of one tap and of several, pixels one behind the other; a step of sums went before."""
    plan, rng = small_plan(), random.Random(4)
    dut, taps = PixelSums(plan, signed(24)), [1, 1, 4, 9, 2]
    script = [(k == 0, k == count - 1, [rng.getrandbits(plan.bits) for _ in range(plan.pout)])
              for count in taps for k in range(count)]  # fmt: skip

    def drive(cycle):
        if cycle == 0:
            return {"valid": 1, "words": packed([1234] * plan.pout, 24), "fresh": 1, "largest": largest}
        if cycle > len(script):
            return {"valid": 0}
        first, last, words = script[cycle - 1]
        return {"valid": 1, "pool": 1, "first": first, "last": last, "words": packed(words, 24)}

    seen = cycles_of(dut, drive, len(script) + 4, "done", "sums")

    got = [(k, fields(sums, plan.sum_bits, plan.pout)) for k, (done, sums) in enumerate(seen) if done]
    want, own = [], []
    for k, (_, last, words) in enumerate(script, 1):
        own.append(words)
        if last:
            want.append((k + dut.latency, [max(c) if largest else sum(c) for c in zip(*own, strict=True)]))
            own = []
    assert got == want


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_are_cut_into_words_lowest_bits_first(count):
    """As `layout` says; the first word at once, and the next pixel may follow behind the last one."""
    plan, rng = small_plan(bits=8, pin=8, pout=8), random.Random(count)
    dut = ResultWords(plan)
    pixels = [[rng.getrandbits(plan.result.bits) for _ in range(plan.pout)] for _ in range(5)]

    def drive(cycle):
        here = cycle % count == 0 and cycle // count < len(pixels)
        return {"valid": here, "count": count, "results": packed(pixels[min(cycle // count, 4)], plan.result.bits)}

    seen = cycles_of(dut, drive, 5 * count + 2, "done", "word")

    words = [word for done, word in seen if done]
    assert words == [packed([v >> k * 8 & 255 for v in pixel], 8) for pixel in pixels for k in range(count)]


@pytest.mark.parametrize("wide, sign", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_residuals_count_from_the_lowest_value(wide, sign):
    """One word or two of a pixel, with and without a sign, which inverts the highest bit."""
    plan, rng = small_plan(bits=8, pin=8, pout=8), random.Random(wide + 2 * sign)
    dut, bits = Residuals(plan), 16 if wide else 8
    pixels = [[rng.getrandbits(bits) for _ in range(plan.pout)] for _ in range(6)]
    words = [packed([v >> k * 8 & 255 for v in pixel], 8) for pixel in pixels for k in range(1 + wide)]

    def drive(cycle):
        return {"valid": cycle < len(words), "word": words[min(cycle, len(words) - 1)], "wide": wide, "signed": sign,
                "double": wide, "take": cycle >= len(words) + 4}  # fmt: skip

    seen = cycles_of(dut, drive, len(words) + 4 + len(pixels), "arrived", "residuals")

    assert sum(arrived for arrived, _ in seen) == len(pixels)
    for pixel, (_, residuals) in zip(pixels, seen[len(words) + 4 :], strict=True):
        assert fields(residuals, 17, plan.pout) == [v ^ sign << bits - 1 for v in pixel]


class Walk(wiring.Component):
    """A planner that hands its steps to an issuer at once."""

    def __init__(self, plan):
        self.planner, self.issuer = Planner(plan), Issuer(plan)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.planner, m.submodules.issuer = self.planner, self.issuer
        wiring.connect(m, self.planner.o, self.issuer.i)
        return m


def layer_of(plan, *, unit, window, stride, dilation, pads, shape, out_blocks, bands):
    """A descriptor of bands of equal rows, by hand."""
    (kh, kw), (sy, sx), (dy, dx), (top, left) = window, stride, dilation, pads
    blocks, height, width = shape
    columns = (width + 2 * left - (kw - 1) * dx - 1) // sx + 1
    rows = (height + 2 * top - (kh - 1) * dy - 1) // sy + 1
    assert rows % bands == 0
    own, chunks = rows // bands, []
    for band in range(bands):
        begin = band * own * sy - top
        end = min(begin + (own - 1) * sy + (kh - 1) * dy + 1, height)
        chunks.append((max(begin, 0), end - max(begin, 0)))
    values = dict.fromkeys((field.name for field in descriptor_record(plan).fields), 0)
    for which, band in (("first", 0), ("middle", min(1, bands - 1)), ("final", bands - 1)):
        taken = chunks[band][1]
        values |= {f"rows_{which}": own, f"taken_{which}": taken, f"pixels_{which}": own * columns,
                   f"chunk_{which}": taken * width}  # fmt: skip
    ring = plan.ring_words
    return chunks, values | {
        "unit": unit, "result_words": 1, "bands": bands, "out_blocks": out_blocks, "in_blocks": blocks, "last": 1,
        "columns": columns, "width": width, "kernel_rows": kh, "kernel_columns": kw, "top": top, "left": left,
        "stride_rows": sy, "stride_columns": sx, "dilation_rows": dy, "dilation_columns": dx,
        "origin": (-top * width - left) % ring, "next_row": (sy * width - sx * (columns - 1)) % ring,
        "next_line": (dy * width - dx * (kw - 1)) % ring,
    }  # fmt: skip


@pytest.mark.parametrize("unit", [Unit.ARRAY, Unit.SUM])
@pytest.mark.parametrize(
    "window, stride, dilation, pads, shape, out_blocks, bands",
    [
        ((1, 1), (1, 1), (1, 1), (0, 0), (2, 4, 5), 3, 2),
        ((3, 3), (1, 1), (1, 1), (1, 1), (2, 6, 5), 2, 3),
        ((3, 2), (2, 3), (1, 2), (1, 0), (3, 7, 8), 1, 2),
        ((5, 3), (1, 2), (1, 1), (2, 1), (1, 8, 6), 2, 4),
    ],
)
def test_walk_visits_the_taps_of_the_loops(unit, window, stride, dilation, pads, shape, out_blocks, bands):
    """Address, inside or not, pixel number, begin and end of sums, in the order of the loops of a descriptor; a tap in
    every cycle; the ring is freed once."""
    plan = small_plan()
    out_blocks = out_blocks if unit == Unit.ARRAY else 1
    chunks, values = layer_of(
        plan, unit=unit, window=window, stride=stride, dilation=dilation, pads=pads, shape=shape,
        out_blocks=out_blocks, bands=bands,
    )  # fmt: skip
    walk = Walk(plan)
    issuer, seen, freed = walk.issuer, [], []

    async def bench(ctx):
        ctx.set(walk.planner.i.payload.as_value(), descriptor_record(plan).pack(values))
        ctx.set(walk.planner.i.valid, 1)
        ctx.set(issuer.room, plan.result_words)
        ctx.set(issuer.loaded, plan.ring_words - 1)
        for _ in range(3000):
            _, _, issued, place, inside, pixel, first, last, free, taken = await ctx.tick().sample(
                issuer.issued, issuer.place, issuer.inside, issuer.pixel, issuer.first, issuer.last, issuer.freed,
                walk.planner.i.ready,
            )  # fmt: skip
            if issued:
                seen.append((place if inside else None, pixel, first, last))
                freed.append(free)
            elif seen:
                break
            if taken:
                ctx.set(walk.planner.i.valid, 0)

    sim = Simulator(walk)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()

    want = list(expected_taps(values, chunks, unit, shape, out_blocks, pads))
    assert seen == [(place if place is None else place % plan.ring_words, *rest) for place, *rest in want]
    assert sum(freed) == sum(taken * shape[2] * shape[0] for _, taken in chunks)


def expected_taps(values, chunks, unit, shape, out_blocks, pads):
    """(place in the ring or None, pixel, first, last) of every tap, by loops."""
    blocks, _, width = shape
    tile, own = 0, values["rows_first"]
    taps = [(ky, kx) for ky in range(values["kernel_rows"]) for kx in range(values["kernel_columns"])]
    for band, (begin, taken) in enumerate(chunks):
        pixels = [(y, x) for y in range(own) for x in range(values["columns"])]

        def tap(block, pixel, place, taken=taken, begin=begin, band=band, tile=tile):
            row = (band * own + pixel[0]) * values["stride_rows"] + place[0] * values["dilation_rows"] - pads[0] - begin
            column = pixel[1] * values["stride_columns"] + place[1] * values["dilation_columns"] - pads[1]
            inside = 0 <= row < taken and 0 <= column < width
            return tile + block * taken * width + row * width + column if inside else None

        if unit == Unit.ARRAY:
            for _ in range(out_blocks):
                for block in range(blocks):
                    for place in taps:
                        for k, pixel in enumerate(pixels):
                            first, last = block == 0 and place == taps[0], block == blocks - 1 and place == taps[-1]
                            yield tap(block, pixel, place), k, first, last
        else:
            for block in range(blocks):
                for k, pixel in enumerate(pixels):
                    for place in taps:
                        yield tap(block, pixel, place), k, place == taps[0], place == taps[-1]
        tile += blocks * taken * width
