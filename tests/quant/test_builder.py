"""The builder of Programs: the numbers of loops over Python integers, and mistakes by name."""

import doctest

import addax
import numpy as np
import pytest
from addax.quant import builder as module
from addax.quant import golden
from addax.quant.formats import unsigned


def built(rng):
    build = addax.ProgramBuilder((1, 4, 4), network="hand")
    build.requantise(1, shift=4, bits=4)
    build.convolution(rng.integers(0, 16, (3, 1, 3, 3)), kernel="adder", padding=1, pad=2)
    kept = build.requantise([1, 2, 3], [40, 90, 128], 2, bits=4)
    build.max_pool(2)
    build.average_pool(2)
    build.requantise(64, 32, 8, bits=6)
    build.convolution(rng.integers(-8, 8, (5, 3)), kernel="mult", bits=4)
    build.scores()
    return build, kept


def by_hand(program, image):
    """Scores of an image, in loops."""
    ops = {op.name: op for op in program.ops}
    x = image[0].astype(int) >> 4
    weight, padded = ops["conv1"].weight, np.full((6, 6), 2)
    padded[1:5, 1:5] = x
    maps = np.zeros((3, 4, 4), int)
    for o in range(3):
        for y in range(4):
            for c in range(4):
                total = -sum(
                    abs(int(padded[y + a, c + b]) - int(weight[o, 0, a, b])) for a in range(3) for b in range(3)
                )
                maps[o, y, c] = min(max((total * (o + 1) + (40, 90, 128)[o]) >> 2, 0), 15)
    pooled = maps.reshape(3, 2, 2, 2, 2).max((2, 4))
    mean = np.clip((pooled.sum((1, 2)) * 64 + 32) >> 8, 0, 63)
    return ops["conv2"].weight[:, :, 0, 0] @ mean


def test_what_is_built_computes_what_loops_compute():
    """Protects the convenience: defaults and broadcasts must mean what they say."""
    rng = np.random.default_rng(0)
    build, kept = built(rng)
    program = build.program(note="by hand")
    images = rng.integers(0, 256, (20, 1, 4, 4), np.uint8)

    found = golden.run(program, images)
    assert (found.scores == np.array([by_hand(program, image) for image in images])).all()
    assert kept == "requantise2" and build.shape(kept) == (3, 4, 4) and build.format(kept) == unsigned(4)
    assert dict(program.metadata) == {"network": "hand", "note": "by hand"}


def test_tables_and_products_are_built():
    """A map times a gate for each channel, which a table makes of its mean."""
    build = addax.ProgramBuilder((2, 2, 2))
    build.average_pool(2)
    build.requantise(1, 2, 2, bits=8)
    gate = build.table(255 - np.arange(256))
    build.product(gate, source="pixels")
    image = np.array([[[[0, 100], [200, 240]], [[9, 9], [9, 9]]]], np.uint8)

    found = golden.run(build.program(), image).output

    assert (gate, build.last, build.shape()) == ("table1", "product1", (2, 2, 2))
    assert found.tolist() == (image.astype(int) * np.array([255 - 135, 255 - 9])[:, None, None]).tolist()
    with pytest.raises(addax.UserError, match=r"^table2: entries must fit uint4"):
        build.table(np.arange(256), bits=4, source=gate)


def test_choices_and_reductions_are_built():
    """Of each pixel the mean of its channels where the first one is the largest, else the largest."""
    build = addax.ProgramBuilder((2, 1, 3))
    mask = build.arg_max()
    build.reduce("sum", source="pixels")
    mean = build.requantise(1, shift=1)
    largest = build.reduce("max", source="pixels")
    build.select(mask, [mean, largest])

    found = golden.run(build.program(), np.array([[[[10, 3, 7]], [[20, 3, 6]]]], np.uint8)).output

    assert (mask, mean, largest, build.last) == ("argmax1", "requantise1", "reduce2", "select1")
    assert found.tolist() == [[[[20, 3, 6]]]]
    with pytest.raises(addax.UserError, match=r"^select2: branches have one format and shape; pixels is uint8, \(2, "):
        build.select(mask, [mean, "pixels"])


def test_a_block_of_a_transformer_is_built():
    """Two tokens of two pixels each, normalised, with a softmax that halves with every step, and put back."""
    build = addax.ProgramBuilder((1, 2, 2))
    build.unfold((1, 2), (1, 2), (1, 2))
    tokens = build.rearrange((2, 2), (0, 1), (2, 1, 2))
    norm = build.norm(1, shift=2, fraction=4, reciprocal=16, cut=9)
    scores = build.requantise(1, shift=3, signed_result=True, source=build.matmul(norm, "scores"))
    weights = build.softmax([8, 4, 2, 1], bits=4, mask=[[1, 0], [1, 1]])
    total = build.reduce("sum")
    build.matmul(tokens, "context", source=weights)
    build.divide(total, 2, 1, 1)
    build.concat(build.last, tokens, axis="W")

    result = golden.run(build.program(), np.array([[[[3, 9], [40, 10]]]], np.uint8), trace=[norm, scores, weights])

    # (3, 9) less its mean over its deviation is (-1, 1), (40, 10) is (1, -1): here times 2**3, and over 2**2.
    assert result.tensors[norm].tolist() == [[[[-2, 1]], [[1, -2]]]]
    assert result.tensors[scores].tolist() == [[[[0, -1]], [[-1, 0]]]]
    # The first token sees itself, the other one both: 4 * 3 + 8 * 40 and 4 * 9 + 8 * 10 over 12, to the nearest.
    assert result.tensors[weights].tolist() == [[[[8, 4]], [[0, 8]]]]
    assert result.output.tolist() == [[[[3, 28, 3, 40]], [[9, 10, 9, 10]]]]


def test_attention_is_built():
    """Two tokens of one channel: each asks both, and gets the sum of them by its scores."""
    build = addax.ProgramBuilder((1, 1, 2))
    scores = build.matmul("pixels", "scores")
    weights = build.requantise(1, source=scores)
    build.matmul("pixels", "context", source=weights)

    found = golden.run(build.program(), np.array([[[[2, 3]]]], np.uint8)).output

    assert (scores, build.last) == ("matmul1", "matmul2")
    assert found.tolist() == [[[[4 * 2 + 6 * 3, 6 * 2 + 9 * 3]]]]
    with pytest.raises(addax.UserError, match=r"^matmul3: heads must divide 1 channels of pixels, which 2 does not$"):
        build.matmul("pixels", "scores", source="pixels", heads=2)


def test_what_is_built_goes_through_rtl(tmp_path):
    rng = np.random.default_rng(1)
    net = addax.Network(program=built(rng)[0].program())
    build = net.generate(lanes=8, out=tmp_path / "build")
    assert net.name == "hand"
    assert build.simulate(rng.integers(0, 256, (6, 1, 4, 4), np.uint8), stall=0.3).bit_exact


def test_residuals_joins_and_thresholds():
    rng = np.random.default_rng(2)
    build = addax.ProgramBuilder((2, 3, 3))
    first = build.threshold(np.sort(rng.integers(0, 256, (2, 3)), axis=1), [0, 1])
    second = build.requantise(1, 0, 6, bits=2, source="pixels")
    build.concat(first, second)
    build.convolution(rng.integers(0, 2, (4, 4, 1, 1)), kernel="mult", bits=1)
    third = build.requantise(1, 8, bits=4)
    build.requantise(3, 0, 1, residual=third, residual_multiplier=5, bits=4)
    program = build.program()

    image = rng.integers(0, 256, (1, 2, 3, 3), np.uint8)
    x, ops = image[0].astype(int), program.by_name
    levels = (x[:, None] >= ops[first].thresholds[:, :, None, None]).sum(1)
    levels[1] = 3 - levels[1]
    joined = np.concatenate([levels, np.clip(x >> 6, 0, 3)])
    sums = np.einsum("oi,ihw->ohw", 2 * ops["conv1"].weight[:, :, 0, 0] - 1, joined)
    stored = np.clip(sums + 8, 0, 15)
    assert (golden.run(program, image).output[0] == np.clip((stored * 3 + stored * 5) >> 1, 0, 15)).all()


def test_the_lossless_clamp_loses_nothing():
    """The identity of shared scales: what the clamp takes away of the sum is C, for every feature of the grid."""
    rng = np.random.default_rng(3)
    weight, step = rng.normal(0, 8, (4, 5)), 0.5
    integers, constant = addax.lossless_clamp(weight, step, unsigned(4))
    clamped = (weight / step).clip(0, 15)
    for x in rng.integers(0, 16, (50, 5)):
        exact = -np.abs(x - weight / step).sum(1)
        assert np.allclose(exact, -np.abs(x - clamped).sum(1) - constant)
    assert (integers == np.rint(clamped)).all() and constant.min() > 0


MISTAKES = {
    "floats": (lambda b: b.convolution([[0.5]]), "weight must be integers, not float64"),
    "range": (lambda b: b.convolution([[300]]), "weights leave"),
    "bits of an adder": (lambda b: b.convolution([[3]], bits=4), "on the grid of its features"),
    "bits": (lambda b: b.convolution([[3]], kernel="mult", bits=99), "bits of a format"),
    "kernel": (lambda b: b.convolution([[3]], kernel="fft"), "fft"),
    "channels": (lambda b: b.convolution([[3, 4]]), "does not fit a tensor"),
    "factors": (lambda b: b.requantise([1, 2, 3]), "multiplier must be an integer, or 1, not"),
    "no source": (lambda b: b.flatten(source="nothing"), "there is no operation 'nothing'; there are pixels"),
    "name twice": (lambda b: (b.flatten(name="a"), b.flatten(name="a")), "already"),
    "one to join": (lambda b: b.concat("pixels"), "two tensors or more"),
    "nothing": (lambda b: b.program(), "compute something"),
    "no operation": (lambda b: b.add("conv"), "expected an operation"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_where_they_are_made(mistake):
    call, expected = MISTAKES[mistake]
    with pytest.raises(addax.UserError, match=expected.replace("(", r"\(")):
        call(addax.ProgramBuilder((1, 2, 2)))


def test_the_example_of_the_docstring():
    assert doctest.testmod(module).failed == 0
