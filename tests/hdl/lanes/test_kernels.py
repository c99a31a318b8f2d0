# amaranth: UnusedElaboratable=no
"""The kernels: every structure in every form computes its definition.

For all inputs by SAT, lane by lane and level by level, with the makers' cells as yosys models them; and in Amaranth's
simulator with hypothesis' widths, folds, registers, operands and stalls. The definitions are plain Verilog and plain
Python integers, written here.
"""

import random

import pytest
from addax.hdl.cells.known import FABRICS
from addax.hdl.cells.words import Word, plain
from addax.hdl.lanes.array import ArrayStep, KernelArray
from addax.hdl.lanes.shape import ArrayShape
from addax.hdl.lanes.structures import STRUCTURES
from addax.quant.formats import Format, signed, unsigned
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from hypothesis import example, given
from hypothesis import strategies as st
from marks import guarded_but
from operands import packed, unpacked
from prove import counterexample
from streaming import transfer

CASES = [(kernel, structure) for kernel, structures in STRUCTURES.items() for structure in structures]
FORMS = [
    (kernel, structure, fabric) for kernel, structure in CASES for fabric in FABRICS
    if structure != "star" or fabric == "generic"  # x * w is left to synthesis
]  # fmt: skip


def operands(kernel, bits, is_signed):
    """Formats of features and weights, ``bits`` wide where the kernel leaves a choice."""
    x = Format(bits=bits, signed=is_signed)
    return {
        "adder": (x, x), "mult": (x, x), "shift": (x, unsigned(4)), "xnor": (unsigned(1), unsigned(1)),
    }[kernel]  # fmt: skip


# Definitions


def term(kernel, x, w, w_format):
    match kernel:
        case "adder":
            return -abs(x - w)
        case "mult":
            return x * w if w_format.bits > 1 else x * (1 if w else -1)
        case "xnor":
            return 1 if x == w else -1
        case "shift":
            factor = 0 if w % 8 == 0 else 2 ** (w % 8 - 1)
            return x * (-factor if w >= 8 else factor)


def verilog(shape, total):
    """One step of one row as wires: the accumulator, or zero, and for every lane what it holds of its term.

    The adder holds the distance; with the structure ``max`` the weight on top, counted from the lowest value. The
    binary kernel holds 1 for equal operands.
    """
    x, w, wide = shape.x, shape.w, total.bits + 2
    lowest = min(x.lo, w.lo)
    held = {
        "adder": "(x{k} > w{k} ? x{k} - w{k} : w{k} - x{k})"
        + (f" + w{{k}} - ({lowest})" if shape.structure == "max" else ""),
        "mult": "x{k} * w{k}" if w.bits > 1 else "(w{k} != 0 ? x{k} : -x{k})",
        "xnor": "(x{k} == w{k} ? 1 : 0)",
        "shift": "(w{k} % 8 == 0 ? 0 : w{k} >= 8 ? -(x{k} <<< (w{k} % 8 - 1)) : x{k} <<< (w{k} % 8 - 1))",
    }[shape.kernel]
    lines = [
        f"module definition(input [{shape.pin * x.bits - 1}:0] x, input [{shape.pin * w.bits - 1}:0] w,"
        f" input [{total.bits - 1}:0] total, input first, output [{total.bits - 1}:0] after);",
        f"wire signed [{wide - 1}:0] sum0 = first ? 0 : total;",
    ]
    for k in range(shape.pin):
        for name, fmt in (("x", x), ("w", w)):
            kind = "signed " if fmt.signed else ""
            lines.append(f"wire {kind}[{fmt.bits - 1}:0] {name}_{k} = {name}[{k * fmt.bits} +: {fmt.bits}];")
            lines.append(f"wire signed [{wide - 1}:0] {name}{k} = {name}_{k};")
        lines.append(f"wire signed [{wide - 1}:0] sum{k + 1} = sum{k} + ({held.format(k=k)});")
    return "\n".join([*lines, f"assign after = sum{shape.pin};", "endmodule"])


def prove_step(folder, kernel, structure, fabric, bits, is_signed, pin):
    x, w = operands(kernel, bits, is_signed)
    shape = ArrayShape(kernel=kernel, structure=structure, fabric=fabric, pin=pin, pout=1, x=x, w=w)
    total = shape.total(1)
    split = ("w", bits) if kernel == "mult" and bits > 5 and pin == 1 else None
    found = counterexample(ArrayStep(shape, total=total), verilog(shape, total), folder, fabric=fabric, split=split)
    assert found is None, f"{shape}:\n{found}"


# Proofs of lanes


@pytest.mark.parametrize(
    "kernel, structure, fabric, is_signed",
    guarded_but(
        [(*form, is_signed) for form in FORMS for is_signed in (False, True)],
        *((*form, form[2] == "generic") for form in FORMS if form != ("adder", "2a", "generic")),
    ),
)
def test_two_lanes_of_three_bits_are_proved(tmp_path, kernel, structure, fabric, is_signed):
    """Lane, first level of the tree and accumulator together, in every structure and form."""
    prove_step(tmp_path, kernel, structure, fabric, 3, is_signed, 2)


@pytest.mark.parametrize("fabric", FABRICS)
@pytest.mark.parametrize("structure", STRUCTURES["adder"])
def test_adder_lanes_of_eight_bits_are_proved(tmp_path, structure, fabric):
    prove_step(tmp_path, "adder", structure, fabric, 8, False, 1)


@pytest.mark.slow
@pytest.mark.parametrize("is_signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("kernel, structure, fabric", [form for form in FORMS if form[0] != "xnor"])
def test_a_lane_of_every_width_is_proved(tmp_path, kernel, structure, fabric, bits, is_signed):
    prove_step(tmp_path, kernel, structure, fabric, bits, is_signed, 1)


@pytest.mark.slow
@pytest.mark.parametrize("kernel, structure, fabric", FORMS)
def test_three_lanes_are_proved(tmp_path, kernel, structure, fabric):
    """A level with a lone term."""
    prove_step(tmp_path, kernel, structure, fabric, 2, True, 3)


@pytest.mark.parametrize("pin", [1, 5, 9, 12])
@pytest.mark.parametrize("fabric", FABRICS)
def test_binary_counters_are_proved(tmp_path, fabric, pin):
    prove_step(tmp_path, "xnor", "count", fabric, 1, False, pin)


@pytest.mark.parametrize("fabric", FABRICS)
def test_weights_of_one_bit_are_signs(tmp_path, fabric):
    x, w = signed(4), unsigned(1)
    shape = ArrayShape(kernel="mult", structure="booth", fabric=fabric, pin=2, pout=1, x=x, w=w)
    total = shape.total(1)
    assert counterexample(ArrayStep(shape, total=total), verilog(shape, total), tmp_path, fabric=fabric) is None


def test_a_wrong_definition_is_not_proved(tmp_path):
    """Protects the proofs themselves: a counterexample is found when there is one."""
    x = unsigned(3)
    shape = ArrayShape(kernel="adder", structure="max", fabric="xc7", pin=2, pout=1, x=x, w=x)
    wrong = verilog(shape, shape.total(1)).replace("x1 > w1", "x1 < w1")
    found = counterexample(ArrayStep(shape, total=shape.total(1)), wrong, tmp_path, fabric="xc7")
    assert found is not None and "Signal Name" in found


# Proofs of the levels of trees


class Level(wiring.Component):
    """One adder of a fabric: ``inputs`` signals per word, joined by exclusive or, and as many carries as it takes."""

    def __init__(self, fabric, bits, inputs, is_signed, extra):
        self.fabric, self.bits, self.is_signed = FABRICS[fabric], bits, is_signed
        self.inputs, self.result_bits = inputs, bits + extra
        super().__init__({
            "a": In(bits * sum(inputs)), "carries": In(len(inputs) - 1), "sum": Out(bits + extra),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        words, at = [], 0
        for count in self.inputs:
            signals = []
            for _ in range(count):
                signal = Signal(self.bits, name=f"a{at}")
                m.d.comb += signal.eq(self.a.word_select(at, self.bits))
                signals.append(signal)
                at += 1
            words.append(
                plain(signals[0], signed=self.is_signed) if count == 1
                else Word(inputs=tuple(signals), function=lambda *v: v[0] ^ v[1] ^ (v[2] if len(v) > 2 else 0),
                          signed=self.is_signed)
            )  # fmt: skip
        carries = [self.carries[k] for k in range(len(self.inputs) - 1)]
        m.d.comb += self.sum.eq(self.fabric.add(m, words, carries, self.result_bits, "level"))
        return m


def level_definition(bits, inputs, is_signed, extra):
    kind, wide = "signed " if is_signed else "", bits + extra
    lines = [
        f"module definition(input [{bits * sum(inputs) - 1}:0] a, input [{max(0, len(inputs) - 2)}:0] carries,"
        f" output [{wide - 1}:0] sum);"
    ]
    at, terms = 0, []
    for k, count in enumerate(inputs):
        parts = " ^ ".join(f"a[{(at + i) * bits} +: {bits}]" for i in range(count))
        lines.append(f"wire {kind}[{bits - 1}:0] word{k} = {parts};")
        lines.append(f"wire signed [{wide + 1}:0] wide{k} = word{k};")
        terms.append(f"wide{k}")
        at += count
    terms += [f"$signed({{1'b0, carries[{k}]}})" for k in range(len(inputs) - 1)]
    return "\n".join(
        [*lines, f"wire signed [{wide + 1}:0] all = {' + '.join(terms)};", "assign sum = all;", "endmodule"]
    )


def prove_level(folder, fabric, bits, inputs, is_signed):
    extra = 2 if len(inputs) == 3 else 1
    made = Level(fabric, bits, inputs, is_signed, extra)
    found = counterexample(made, level_definition(bits, inputs, is_signed, extra), folder, fabric=fabric)
    assert found is None, found


@pytest.mark.parametrize("is_signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("inputs", [(1, 1), (2, 2), (3, 2), (3, 3)], ids=str)
@pytest.mark.parametrize("fabric", FABRICS)
def test_a_level_of_two_words_is_proved(tmp_path, fabric, inputs, is_signed):
    """Also words that are too large for a cell, which are computed in front of it."""
    prove_level(tmp_path, fabric, 4, inputs, is_signed)


@pytest.mark.parametrize("is_signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("inputs", [(1, 1, 1), (2, 1, 1), (2, 2, 2)], ids=str)
@pytest.mark.parametrize("fabric", ["xc7", "xcup"])
def test_a_level_of_three_words_is_proved(tmp_path, fabric, inputs, is_signed):
    prove_level(tmp_path, fabric, 4, inputs, is_signed)


@pytest.mark.slow
@pytest.mark.parametrize("is_signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("bits", [1, 2, 3, 5, 6, 7, 8])
@pytest.mark.parametrize("fabric, inputs", [
    (name, inputs) for name, fabric in FABRICS.items()
    for inputs in [(1, 1), (2, 2), (3, 2), (1, 1, 1), (2, 1, 1)] if len(inputs) <= fabric.arity
], ids=str)  # fmt: skip
def test_levels_of_every_width_are_proved(tmp_path, fabric, bits, inputs, is_signed):
    prove_level(tmp_path, fabric, bits, inputs, is_signed)


class Blocks(wiring.Component):
    """The other blocks of a fabric: comparison, counters, tables."""

    def __init__(self, fabric, flip):
        self.fabric, self.flip = FABRICS[fabric], flip
        super().__init__({
            "a": In(5), "b": In(5), "enable": In(1), "bits": In(7),
            "less": Out(1), "gated": Out(1), "counted": Out(3), "three": Out(2), "chosen": Out(5),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        bits = [Signal(name=f"bit{k}") for k in range(7)]
        m.d.comb += Cat(*bits).eq(self.bits)
        a, b = (Word(inputs=(v,), function=lambda value: value, flip=self.flip) for v in (self.a, self.b))
        choice = Word(inputs=(self.enable, self.a, self.b), function=lambda s, p, q: (s & p) | (~s & q))
        m.d.comb += [
            self.less.eq(self.fabric.less(m, a, b, "less")),
            self.gated.eq(self.fabric.less(m, a, b, "gated", self.enable)),
            self.counted.eq(self.fabric.count7(m, bits, "seven")),
            self.three.eq(self.fabric.count3(m, bits[:3], "three")),
            self.chosen.eq(self.fabric.select(m, choice, "choice")),
        ]
        return m


@pytest.mark.parametrize("flip", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("fabric", FABRICS)
def test_comparisons_counters_and_tables_are_proved(tmp_path, fabric, flip):
    """Inverting the top bits of both operands makes a signed comparison of an unsigned one."""
    kind = "signed " if flip else ""
    definition = f"""
        module definition(input {kind}[4:0] a, input {kind}[4:0] b, input enable, input [6:0] bits,
                          output less, output gated, output [2:0] counted, output [1:0] three, output [4:0] chosen);
        assign less = a < b;
        assign gated = (a < b) && enable;
        assign counted = bits[0] + bits[1] + bits[2] + bits[3] + bits[4] + bits[5] + bits[6];
        assign three = bits[0] + bits[1] + bits[2];
        assign chosen = enable ? a : b;
        endmodule"""
    assert counterexample(Blocks(fabric, flip), definition, tmp_path, fabric=fabric) is None


# Arrays between their streams


@st.composite
def shapes(draw):
    kernel, structure = draw(st.sampled_from(CASES))
    x, w = operands(kernel, draw(st.integers(2, 16)), draw(st.booleans()))
    if kernel in ("adder", "mult"):
        w = Format(bits=draw(st.integers(2, 16)), signed=draw(st.booleans()))
    if kernel == "mult" and draw(st.integers(0, 7)) == 0:
        w = unsigned(1)
    pin = draw(st.integers(1, 40 if kernel == "xnor" else 9))
    shape = ArrayShape(kernel=kernel, structure=structure, pin=pin, pout=draw(st.integers(1, 3)), x=x, w=w)
    ranks = draw(st.none() | st.integers(0, shape.levels))
    return ArrayShape(**{**vars(shape), "ranks": ranks})


def invent(rng, fmt, count):
    style = rng.choice(["lo", "hi", "ends", "any"])
    if style in ("lo", "hi"):
        return [getattr(fmt, style)] * count
    return [rng.choice([fmt.lo, fmt.hi]) if style == "ends" else rng.randint(fmt.lo, fmt.hi) for _ in range(count)]


def run_groups(shape, steps, pauses, seed):
    """Random groups through a `KernelArray`; compare what it decodes to with the sums of terms."""
    rng = random.Random(seed)
    total = shape.total(max(steps))
    beats, expected, weights = [], [], []
    for count in steps:
        sums, seen = [0] * shape.pout, [[] for _ in range(shape.pout)]
        for step in range(count):
            xs = invent(rng, shape.x, shape.pin)
            rows = [invent(rng, shape.w, shape.pin) for _ in range(shape.pout)]
            for row, ws in enumerate(rows):
                sums[row] += sum(term(shape.kernel, x, w, shape.w) for x, w in zip(xs, ws, strict=True))
                seen[row] += ws
            word = packed(xs, shape.x)
            at = shape.pin * shape.x.bits
            word |= packed([w for ws in rows for w in ws], shape.w) << at
            at += shape.pin * shape.pout * shape.w.bits
            beats.append(word | (step == 0) << at | (step == count - 1) << (at + 1))
        expected.append(sums)
        weights.append(seen)
    dut = KernelArray(shape, total=total)
    received, cycles = transfer(dut, beats, count=len(steps), pause_in=pauses[0], pause_out=pauses[1], seed=seed)
    got = [
        [shape.decode(sum_, ws) for sum_, ws in zip(unpacked(word, total, shape.pout), seen, strict=True)]
        for word, seen in zip(received, weights, strict=True)
    ]
    assert got == expected, shape
    return cycles


EIGHT = unsigned(8)


@given(
    shape=shapes(), steps=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    pauses=st.sampled_from([(0, 0), (0.5, 0), (0, 0.5), (0.3, 0.3), (0.9, 0.1), (0.1, 0.9)]), seed=st.integers(0, 999),
)  # fmt: skip
@example(
    shape=ArrayShape(kernel="adder", structure="max", pin=16, pout=2, x=EIGHT, w=EIGHT, ranks=5), steps=[3, 1, 2],
    pauses=(0.3, 0.3), seed=0,
)  # fmt: skip
def test_arrays_sum_their_terms_under_any_stalls(shape, steps, pauses, seed):
    """Any width, fold, number of registers, operands at all extremes: no sum is lost, doubled or wrong."""
    run_groups(shape, steps, pauses, seed)


@given(shape=shapes(), steps=st.lists(st.integers(1, 3), min_size=1, max_size=3))
@pytest.mark.slow
@pytest.mark.guard
def test_a_sum_leaves_after_the_promised_latency(shape, steps):
    cycles = run_groups(shape, steps, (0, 0), 1)

    ends = [sum(steps[: k + 1]) - 1 for k in range(len(steps))]
    assert cycles == [end + shape.latency for end in ends]


@pytest.mark.parametrize("kernel, structure", CASES)
def test_every_number_of_registers_is_built(kernel, structure):
    """From one long way to a rank behind every level: the latency counts them."""
    x, w = operands(kernel, 4, False)
    shape = ArrayShape(kernel=kernel, structure=structure, pin=9, pout=1, x=x, w=w)
    for ranks in range(shape.levels + 1):
        chosen = ArrayShape(**{**vars(shape), "ranks": ranks})
        assert chosen.latency == ranks + 2 == chosen.register_stages
        run_groups(chosen, [2], (0, 0), ranks)


# What cannot be built


@pytest.mark.parametrize("changes, message", [
    ({"kernel": "memristor"}, "kernel must be one of adder, mult, xnor, shift, not 'memristor'"),
    ({"structure": "3a"}, "structure of the adder kernel must be one of 2a, 1c1a, carry, max, not '3a'"),
    ({"structure": "booth"}, "structure of the adder kernel must be one of 2a, 1c1a, carry, max, not 'booth'"),
    ({"fabric": "xc2"}, "fabric must be one of generic, ecp5, xc7, xcup, not 'xc2'"),
    ({"pin": 0}, "pin must be a positive integer, not 0"),
    ({"pout": -3}, "pout must be a positive integer, not -3"),
    ({"pin": 2.0}, "pin must be a positive integer, not 2.0"),
    ({"x": unsigned(1)}, "features of the adder kernel have 2 to 16 bits, not 1"),
    ({"w": signed(17)}, "weights of the adder kernel have 2 to 16 bits, not 17"),
    ({"kernel": "xnor", "structure": "count"}, "features of the xnor kernel have 1 bit, not 8"),
    ({"kernel": "shift", "structure": "barrel"}, "weights of the shift kernel have 4 bits, not 8"),
    ({"ranks": 99}, "registers between operands and accumulators must be 0..3, not 99"),
    ({"ranks": -1}, "registers between operands and accumulators must be 0..3, not -1"),
])  # fmt: skip
def test_impossible_arrays_are_refused(changes, message):
    given_ = {"kernel": "adder", "structure": "carry", "pin": 4, "pout": 2, "x": EIGHT, "w": EIGHT, **changes}
    with pytest.raises(ValueError) as raised:
        ArrayShape(**given_)
    assert str(raised.value) == message
