"""Outputs of stages beside the golden model: a fault is found where it is, and nowhere else."""

from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pytest
from addax.hdl.dataflow.build import bind
from addax.hdl.folder.generate import generate
from addax.quant import golden
from addax.quant.formats import signed, unsigned
from addax.quant.program import Convolution, Flatten, MaxPool, Requantise, Threshold
from addax.sim import cosim
from addax.sim.cosim import simulate
from addax.sim.stage_trace import TracePoint, compare_stages, recorder_text, trace_points
from marks import guarded
from networks import Builder, random_images, random_plan

IMAGES = 12


@pytest.fixture(scope="module")
def net():
    """Thresholds, factors, a pool, a signed map, scores: four stages."""
    b = Builder(np.random.default_rng(11), (2, 7, 6))
    b.convolution("adder", 4, 3, padding=1, weight_bits=8)
    b.threshold(unsigned(2))
    b.emit(MaxPool(name="pool", source=b.last, size=2, stride=2))
    b.convolution("mult", 6, 2, weight_bits=4)
    b.rescale(signed(5))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("mult", 5, weight_bits=6)
    b.requantise(None, scores=True)
    return b.program()


@pytest.fixture(scope="module")
def build(net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trace") / "build"
    return generate(net, random_plan(net, 4), folder, vectors=random_images(net, 1, 4))


@pytest.mark.parametrize(("stall", "pattern"), guarded([(0.0, "both"), (0.6, "burst")], (0.0, "both")))
def test_an_intact_build_has_no_difference(net, build, stall, pattern):
    """Every value of every stage is compared, with and without stalls; ordinary simulations have none."""
    outcome = simulate(build, random_images(net, IMAGES, 1), stall=stall, stall_pattern=pattern, trace_stages=True)

    assert outcome.bit_exact and outcome.first_difference is None
    assert [(s.name, s.values, s.mismatches, s.first) for s in outcome.stages] == [
        (b.stage.name, IMAGES * int(np.prod(b.stage.result)), 0, None) for b in bind(net, build.plan)
    ]
    assert simulate(build, random_images(net, IMAGES, 1)).stages == ()


def convolutions(program):
    return [op for op in program.ops if isinstance(op, Convolution)]


def wrong_weight(program, layer):
    """One weight, turned around within its format."""
    op = convolutions(program)[layer]
    weight = op.weight.copy()
    at = tuple(n // 2 for n in weight.shape)
    weight[at] = op.weight_format.lo + op.weight_format.hi - weight[at]
    return replace(op, weight=weight)


def wrong_factor(program, _):
    op = next(op for op in program.ops if isinstance(op, Requantise))
    multiplier = op.multiplier.copy()
    multiplier[3] = -multiplier[3]
    return replace(op, multiplier=multiplier)


def wrong_threshold(program, _):
    """One level as low as the next lower one, or lower."""
    op = next(op for op in program.ops if isinstance(op, Threshold))
    thresholds = op.thresholds.copy()
    fmt = program.format(op.source)
    thresholds[2] = np.where(thresholds[2] == thresholds[2, -1], (fmt.lo + fmt.hi) // 2, thresholds[2]).clip(
        None, (fmt.lo + fmt.hi) // 2
    )
    thresholds[2, 0] = fmt.lo
    return replace(op, thresholds=np.sort(thresholds, axis=1))


@pytest.mark.parametrize(
    ("stage", "fault", "layer"),
    [(0, wrong_weight, 0), (0, wrong_threshold, 0), (2, wrong_weight, 1), (2, wrong_factor, 1), (3, wrong_weight, 2)],
)
def test_a_fault_is_found_in_its_stage_pixel_and_channel(net, build, monkeypatch, stage, fault, layer):
    """The RTL gets one wrong integer. Where that shows first is computed from two golden runs, value by value."""
    wrong_op = fault(net, layer)
    wrong = replace(net, ops=tuple(wrong_op if op.name == wrong_op.name else op for op in net.ops))
    images = random_images(net, IMAGES, 2)
    original = cosim.prepare
    monkeypatch.setattr(cosim, "prepare", lambda folder, b, program, pixels: original(folder, b, wrong, pixels))

    outcome = simulate(build, images, trace_stages=True)

    points = trace_points(build.design)
    tensors = [point.tensor for point in points]
    right, got = (golden.run(p, images, trace=True).tensors for p in (net, wrong))
    assert [s.mismatches for s in outcome.stages] == [int((right[t] != got[t]).sum()) for t in tensors]
    assert [s.mismatches > 0 for s in outcome.stages][: stage + 1] == [False] * stage + [True]
    expected, found = right[tensors[stage]], got[tensors[stage]]
    _, channels, height, width = expected.shape
    place = next(
        (n, y, x, c)
        for n, y, x, c in product(range(IMAGES), range(height), range(width), range(channels))
        if expected[n, c, y, x] != found[n, c, y, x]
    )
    n, y, x, c = place
    assert outcome.first_difference.stage == points[stage].stage
    assert asdict(outcome.first_difference.place) == {
        "image": n, "y": y, "x": x, "channel": c, "expected": expected[n, c, y, x], "found": found[n, c, y, x],
    }  # fmt: skip
    assert not outcome.bit_exact


def test_parts_of_a_trace_count_images_from_the_first_part_on(net, build, monkeypatch):
    """A fault that shows in the second part only must be told of with the image's own number."""
    op = convolutions(net)[0]
    weight = op.weight.copy()
    weight[0, 0, 0, 0] ^= 8  # seldom seen behind thresholds
    wrong = replace(net, ops=tuple(replace(op, weight=weight) if o is op else o for o in net.ops))
    images = random_images(net, 200, 2)
    tensor = trace_points(build.design)[0].tensor
    right, got = (golden.run(p, images, trace=[tensor]).tensors[tensor] for p in (net, wrong))
    differs = (right != got).any((1, 2, 3))
    assert differs.any() and not differs.all()
    chosen = np.concatenate([np.resize(np.flatnonzero(kind), 12) for kind in (~differs, differs)])
    original = cosim.prepare
    monkeypatch.setattr(cosim, "prepare", lambda folder, b, program, pixels: original(folder, b, wrong, pixels))
    monkeypatch.setitem(build.manifest, "capacity", 8)

    outcome = simulate(build, images[chosen], trace_stages=True)

    assert outcome.parts == 3
    assert outcome.first_difference.place.image == 12
    assert outcome.stages[0].mismatches == (right != got)[chosen].sum()


POINT = TracePoint(stage="s", tensor="pixels", shape=(2, 7, 6), bits=8, signed=False, count=4, path="dut.s.o")


@pytest.mark.parametrize(
    ("change", "mismatches", "expected", "found"),
    [
        (lambda beats: beats[:-1], 4, True, False),
        (lambda beats: np.concatenate([beats, beats[:2]]), 8, False, True),
        (lambda beats: beats, 0, None, None),
    ],
    ids=["missing", "too many", "complete"],
)
def test_values_that_never_come_or_come_too_often_are_differences(
    net, tmp_path, change, mismatches, expected, found
):  # fmt: skip
    from addax.quant.files.archive import save_program

    images = random_images(net, 3, 5)
    save_program(tmp_path / "net.addax", net)
    change(images.transpose(0, 2, 3, 1).reshape(-1, 4)).tofile(tmp_path / POINT.file)

    (trace,) = compare_stages(tmp_path, tmp_path / "net.addax", images, [POINT])

    assert (trace.values, trace.mismatches) == (3 * 84, mismatches)
    if mismatches:
        assert (trace.first.expected is not None, trace.first.found is not None) == (expected, found)
        # The last beat is the last two pixels of the last image; the first of those too many is the next image's.
        place = (trace.first.image, trace.first.y, trace.first.x, trace.first.channel)
        assert place == ((2, 6, 4, 0) if expected else (3, 0, 0, 0))


def test_a_recorder_has_a_file_of_whole_words_per_stage():
    text = recorder_text("net", [replace(POINT, stage="conv", count=5)])
    assert 'initial conv_file = $fopen("trace_conv.bin", "wb");' in text
    assert "wire [63:0] conv_row = conv_payload;" in text and "input [39:0] conv_payload" in text
