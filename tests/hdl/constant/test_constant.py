# amaranth: UnusedElaboratable=no
"""Circuits of constants: what they compute, in any form, and how deep and how large they are.

The expected results are plain loops over integers and plain Verilog of products; nothing of the graph is in them.
"""

from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise

import pytest
from addax.hdl.constant import array as array_module
from addax.hdl.constant import sharing as sharing_module
from addax.hdl.constant.array import ConstantArray
from addax.hdl.constant.circuit import ConstantLayer, Levelled, Scaled, circuit_of
from addax.hdl.constant.graph import COUNTED, SUM, SumGraph
from addax.hdl.constant.scaling import Line, simplest_line
from addax.hdl.constant.sharing import shared_sums
from addax.quant.formats import Format, signed, unsigned
from addax.quant.program import powers_of_two
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator
from constant_layers import KERNELS, definition_of, random_layer, results_of, some_features, sum_of
from hypothesis import given
from hypothesis import strategies as st
from marks import slow_but
from operands import packed, unpacked
from prove import counterexample

SEEDS = st.integers(0, 1 << 30)


HOWS = [{"words": 2}, {"words": 3}, {"compress": True}]
"""How sums are made: of two words, of three, of words that are counted."""


@given(seed=SEEDS, how=st.sampled_from(HOWS), features=st.integers(1, 24))
def test_a_circuit_gives_what_its_layer_says(seed, how, features):
    """Whatever is shared, moved, taken from tables, counted or left to a negative sum."""
    layer = random_layer(seed, features=features)
    circuit = circuit_of(layer, **how)

    for features in some_features(layer, 12, seed):
        assert circuit.values(features) == results_of(layer, features)


@given(seed=SEEDS)
def test_sums_lie_between_their_bounds(seed):
    layer = random_layer(seed)
    for row in range(len(layer.weights)):
        lo, hi = layer.bounds(row)
        assert all(lo <= sum_of(layer, row, features) <= hi for features in some_features(layer, 12, seed))


@given(seed=SEEDS, how=st.sampled_from(HOWS), features=st.integers(1, 24))
def test_every_number_lies_in_its_range(seed, how, features):
    """A range that is too narrow would cut bits off in hardware, which plain integers do not show."""
    layer = random_layer(seed, features=features)
    circuit = circuit_of(layer, **how)

    for features in some_features(layer, 12, seed):
        values = circuit.graph.values(features)
        for number in circuit.used:
            node = circuit.graph.nodes[number]
            assert node.lo <= values[number] <= node.hi


def simulated(circuit, reach, features, fabric="generic"):
    """Results of an array that gets new features in every cycle, and the cycles after which they come."""
    layer = circuit.layer
    dut = ConstantArray(circuit, reach=reach, fabric=fabric)
    m, ticks, found = Module(), Signal(), []
    m.submodules.dut = dut
    m.d.sync += ticks.eq(~ticks)

    async def drive(ctx):
        rows = len(layer.weights)
        for values in [*features, *[features[0]] * dut.latency]:
            ctx.set(dut.x, packed(values, layer.x))
            ctx.set(dut.valid, values is not features[0] or not found)
            await ctx.delay(1e-9)
            found.append((unpacked(ctx.get(dut.y), layer.y, rows), ctx.get(dut.done)))
            await ctx.tick()

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.run()
    assert [done for _, done in found] == [0] * dut.latency + [1] * len(features)
    return [y for y, _ in found[dut.latency :]]


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("reach", [1, 2, 3, 99])
@pytest.mark.parametrize("seed", slow_but(range(40), 0, 1, 25))
def test_an_array_gives_results_on_time(seed, reach, compress):
    """Ranks of registers between any levels: every number and ``done`` wait for as many cycles. In the circuit of seed
    25 a word ends below the bits that it has in common with the count that is added to it."""
    layer = random_layer(seed, features=16)
    circuit = circuit_of(layer, compress=compress)
    features = some_features(layer, 12, seed)

    assert simulated(circuit, reach, features) == [results_of(layer, values) for values in features]
    assert reach < 99 or not circuit.cuts(reach)


@given(seed=SEEDS, reach=st.integers(1, 5), compress=st.booleans())
def test_ranks_leave_no_more_levels_between_them_than_the_clock_allows(seed, reach, compress):
    """One more than it takes only where that saves tables: behind the larger of two, or in front of a count."""
    circuit = circuit_of(random_layer(seed), compress=compress)
    cuts = circuit.cuts(reach)

    ends = [0, *cuts, circuit.depth]

    assert all(0 < after - before <= reach for before, after in pairwise(ends) if after)
    least = max(-(-circuit.depth // reach) - 1, 0)
    assert len(cuts) in ((least, least + 1) if least and (compress or circuit.layer.kernel == "adder") else (least,))


def proved(layer, folder, fabric="generic"):
    """The counterexample to an array being its definition; None where it is. ``counted`` is the generic form whose
    words are counted."""
    words = {"generic": 2, "counted": 2, "ecp5": 2, "xc7": 3, "xcup": 3}[fabric]
    circuit = circuit_of(layer, words, compress=fabric == "counted")
    fabric = "generic" if fabric == "counted" else fabric
    array = ConstantArray(circuit, reach=99, fabric=fabric)
    return counterexample(array, definition_of(layer), folder, fabric=fabric)


@pytest.mark.parametrize(
    "kernel, fabric, seed",
    slow_but(
        [(kernel, f, seed) for kernel in KERNELS for f in ("generic", "counted", "ecp5", "xc7") for seed in range(4)],
        *((kernel, fabric, 0) for kernel in KERNELS for fabric in ("counted", "xc7")), ("mult", "ecp5", 0),
    ),
)  # fmt: skip
def test_small_arrays_are_proved(tmp_path, kernel, fabric, seed):
    """For all features, by SAT, from the array with the makers' cells to plain Verilog."""
    layer = random_layer(1000 + seed, kernel=kernel, bits=4, features=4 if fabric != "counted" else 8, rows=3)

    assert proved(layer, tmp_path, fabric) is None


@pytest.mark.parametrize(
    "fabric, is_signed",
    slow_but([(f, s) for f in ("generic", "counted", "ecp5", "xc7", "xcup") for s in (False, True)]),
)
def test_the_larger_of_a_feature_and_a_weight_is_proved(tmp_path, fabric, is_signed):
    """Comparisons, what large weights have in common, and choices in front of a sum: weights at both ends, beside both
    and in the middle. Three features, since a fourth takes SAT fifteen times as long."""
    x, y = Format(bits=5, signed=is_signed), signed(9)
    kept = Scaled(multipliers=(1,) * 3, offsets=(0,) * 3, shifts=(0,) * 3, lo=y.lo, hi=y.hi)
    weights = ((x.hi, x.lo + 1, x.hi - 2), (x.hi - 1, x.lo, x.lo + 9), (x.hi - 7, x.lo + 22, x.hi - 2))
    layer = ConstantLayer(kernel="adder", x=x, y=y, weights=weights, activation=kept)

    assert proved(layer, tmp_path, fabric) is None


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_wrong_weight_is_found(tmp_path, kernel):
    """The control to the proof: it sees a single weight that is another, through activation and clamp."""
    layer = random_layer(1000, kernel=kernel, bits=4, features=4, rows=3)
    row = list(layer.weights[0])
    row[0] = -row[0] if kernel == "xnor" else row[0] + (1 if row[0] < 3 else -1)
    y = signed(12)
    kept = Scaled(multipliers=(1,), offsets=(0,), shifts=(0,), lo=y.lo, hi=y.hi)
    right = replace(layer, weights=(layer.weights[0],), y=y, activation=kept)
    wrong = replace(right, weights=(tuple(row),))
    circuit = circuit_of(wrong)

    assert proved(right, tmp_path) is None
    array = ConstantArray(circuit, reach=99)
    assert counterexample(array, definition_of(right), tmp_path) is not None


@pytest.mark.parametrize("plane", [0, 1])
def test_a_plane_that_is_wrong_is_found(tmp_path, plane, monkeypatch):
    """The control to the proof of counted words: ones or twos that leave out a word are no sum."""
    y = signed(12)
    kept = Scaled(multipliers=(1,), offsets=(0,), shifts=(0,), lo=y.lo, hi=y.hi)
    layer = ConstantLayer(kernel="mult", x=unsigned(3), y=y, weights=((1, 1, 1, 1),), activation=kept)
    assert proved(layer, tmp_path, "counted") is None
    right = array_module.counted_planes

    def wrong(words):
        planes = right(words)
        return [right(words[1:])[0] if k == plane else found for k, found in enumerate(planes)]

    monkeypatch.setattr(array_module, "counted_planes", wrong)

    assert proved(layer, tmp_path, "counted") is not None


def test_counted_words_take_fewer_chains():
    """Four words are two chains and not three, sixteen ten and not fifteen."""
    y = signed(12)
    kept = Scaled(multipliers=(1,), offsets=(0,), shifts=(0,), lo=y.lo, hi=y.hi)
    for terms, chains in ((2, 1), (3, 2), (4, 2), (7, 4), (16, 10)):
        layer = ConstantLayer(kernel="mult", x=unsigned(8), y=y, weights=((1,) * terms,), activation=kept)
        circuit = circuit_of(layer, compress=True)
        assert sum(circuit.graph.nodes[number].kind == SUM for number in circuit.used) == chains, terms


@given(seed=SEEDS, how=st.sampled_from(HOWS), features=st.integers(1, 24))
def test_what_crosses_a_level_is_read_behind_it(seed, how, features):
    """Level by level: numbers that are there and that a later one, a count of this level or a later result reads."""
    circuit = circuit_of(random_layer(seed, features=features), **how)
    nodes = circuit.graph.nodes
    for level in range(circuit.depth):
        later = {n for n in circuit.used if nodes[n].level + (nodes[n].kind == COUNTED) > level}
        read = {tap.node for number in later for tap in nodes[number].taps}
        ends = [r.total.node for r in circuit.results if circuit.end(r) > level >= nodes[r.total.node].level]
        crossing = {n for n in (read - later).union(ends) if nodes[n].lo < nodes[n].hi}
        assert circuit.crossing(level) == sorted(crossing)


# What is shared


def adders(graph, taps):
    return sum(graph.nodes[number].bits > 0 for number in graph.used(taps))


@given(
    rows=st.lists(st.lists(st.integers(-128, 127), min_size=5, max_size=5), min_size=1, max_size=6),
    slack=st.integers(0, 2),
)  # fmt: skip
def test_shared_sums_are_exact_and_no_more_than_those_of_single_digits(rows, slack):
    graph = SumGraph()
    features = [graph.feature(k, unsigned(4)) for k in range(5)]

    taps = [graph.joined(terms) for terms in shared_sums(graph, features, rows, slack=slack)]

    for values in ([0] * 5, [15] * 5, [1, 2, 4, 8, 15], [3, 0, 9, 1, 7]):
        numbers = graph.values(values)
        for tap, row in zip(taps, rows, strict=True):
            assert tap.sign * (numbers[tap.node] << tap.shift) == sum(a * b for a, b in zip(row, values, strict=True))
    alone = [sum(len(powers_of_two(weight)) for weight in row) for row in rows]
    assert adders(graph, taps) <= sum(max(digits - 1, 0) for digits in alone)
    deepest = max((digits - 1).bit_length() for digits in alone if digits) if any(alone) else 0
    assert max(graph.level(tap) for tap in taps) <= deepest + slack


def patterns_in(rows):
    """How often two terms stand together with the same distance and signs, counted anew."""
    found = Counter()
    for row in rows:
        for one, other in combinations(row, 2):
            (node, shift, sign), (further, place, own) = sorted([one, other], key=lambda term: (term[1], term[0]))
            found[node, further, place - shift, sign * own] += 1
    return found


@given(
    rows=st.lists(st.lists(st.integers(-16, 15), min_size=6, max_size=6), min_size=2, max_size=8),
    slack=st.integers(0, 2),
)  # fmt: skip
def test_every_step_takes_the_pair_that_saves_most(rows, slack):
    """What the search remembers of earlier steps is what looking at all rows again says."""
    taken, own = [], sharing_module._Search._best

    def checked(search):
        saved = [
            (-search._saved(pattern, count), pattern) for pattern, count in patterns_in(search.rows).items()
            if count > 1 and pattern not in search.given_up
        ]  # fmt: skip
        taken.append(own(search))
        assert taken[-1] == min(saved, default=(0, None))[1]
        return taken[-1]

    graph = SumGraph()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing_module._Search, "_best", checked)
        shared_sums(graph, [graph.feature(k, unsigned(4)) for k in range(6)], rows, slack=slack)

    assert taken[-1] is None


def test_what_two_rows_share_is_computed_once():
    """``x + 2 y`` of both, though it stands two places further left and negative in the second."""
    graph = SumGraph()
    features = [graph.feature(k, unsigned(4)) for k in range(3)]

    taps = [graph.joined(terms) for terms in shared_sums(graph, features, [[1, 2, 1], [-4, -8, 1]])]

    assert adders(graph, taps) == 3


def test_filters_with_the_same_weight_share_its_distance():
    layer = random_layer(0, kernel="adder", features=1)
    kept = Scaled(multipliers=(1,) * 3, offsets=(0,) * 3, shifts=(0,) * 3, lo=-128, hi=127)
    layer = replace(layer, x=unsigned(4), y=signed(8), weights=((5, 9), (5, 3), (5, 9)), activation=kept)
    tables = [node for node in circuit_of(layer).graph.nodes if node.kind == "table"]

    assert len([node for node in tables if node.taps[0].node == 0 and len(node.table) == 16]) == 1


@given(
    multiplier=st.integers(1, 40000), offset=st.integers(-(10**6), 10**6), shift=st.integers(0, 16),
    lo=st.integers(-500, 0), size=st.integers(1, 1000),
    y=st.builds(Format, bits=st.integers(1, 7), signed=st.booleans()),
)  # fmt: skip
def test_a_simpler_line_gives_the_same_for_every_sum(multiplier, offset, shift, lo, size, y):
    line, hi = Line(multiplier=multiplier, offset=offset, shift=shift), lo + size

    found = simplest_line(line, lo, hi, (y.lo, y.hi))

    def results(made):
        return [min(max((acc * made.multiplier + made.offset) >> made.shift, y.lo), y.hi) for acc in range(lo, hi + 1)]

    assert results(found) == results(line)
    assert len(powers_of_two(found.multiplier)) <= len(powers_of_two(multiplier))


def test_a_power_of_two_is_the_least_one():
    """16,384 / 2**15 is 1 / 2: of lines with one digit the one that moves the fewest bits away."""
    line = simplest_line(Line(multiplier=16384, offset=1 << 14, shift=15), -100, 100, (0, 15))

    assert (line.multiplier, line.shift) == (1, 1)


@pytest.mark.parametrize("kernel", ["adder", "mult"])
@pytest.mark.parametrize("bits", [1, 2, 4, 5, 8])
@pytest.mark.parametrize("is_signed", [False, True])
def test_weights_at_the_ends_of_their_format(kernel, bits, is_signed):
    """The larger of a feature and the largest weight is that weight, for however many features; of the smallest it is
    the feature."""
    x, y = Format(bits=bits, signed=is_signed), signed(16)
    kept = Scaled(multipliers=(1,) * 3, offsets=(0,) * 3, shifts=(0,) * 3, lo=y.lo, hi=y.hi)
    weights = ((x.hi,) * 6, (x.lo,) * 6, (x.hi, x.lo) * 3)
    layer = ConstantLayer(kernel=kernel, x=x, y=y, weights=weights, activation=kept)

    for features in some_features(layer, 12, bits):
        assert circuit_of(layer).values(features) == results_of(layer, features)


def test_constant_results_take_nothing():
    """Weights of 0, and thresholds that every sum reaches."""
    layer = random_layer(0, kernel="mult")
    y = unsigned(2)
    made = Levelled(thresholds=((-(10**6),),), falling=(False,))
    circuit = circuit_of(replace(layer, x=unsigned(8), y=y, weights=((3, 5),), activation=made))

    assert circuit.depth == 0
    assert circuit.values([1, 2]) == [1]
