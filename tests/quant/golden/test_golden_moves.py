"""Operations that compute no product: concatenations, pools, moves, flatten and the class."""

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.quant import golden
from addax.quant.formats import signed, unsigned
from addax.quant.program import (
    ArgMax,
    AveragePool,
    Concat,
    Convolution,
    Input,
    MaxPool,
    PixelShuffle,
    Program,
    Requantise,
    SpatialShift,
    Threshold,
    Upsample,
)
from chains import ONE_BIT, Chain, formats, images_of, shapes, values, weight_format_for
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from naive import check
from networks import random_images, random_reshaping

# Concat


@settings(max_examples=60)
@given(data=st.data())
def test_concat_equals_the_loops(data):
    """One or more others, any order, the same one twice, of a concatenation; read in groups, or by a flatten."""
    draw = data.draw
    shape = draw(shapes())
    fmt = draw(formats())
    chain = Chain(shape, fmt)
    names = ["stored"]
    for k in range(draw(st.integers(1, 2))):
        n = draw(st.integers(1, 2))
        weight_format = weight_format_for("mult", fmt, 3)
        chain.add(
            Convolution(
                name=f"conv{k}",
                source="stored",
                kernel="mult",
                weight_format=weight_format,
                weight=draw(values(weight_format, (n, shape[0], 1, 1))),
                pad=np.zeros(shape[0], np.int64),
            )
        )
        chain.requantise(f"branch{k}", fmt, draw(values(signed(9), n)), np.zeros(n), 3)  # fmt: skip
        names.append(f"branch{k}")
    for k in range(2):
        source, *others = draw(st.lists(st.sampled_from(names), min_size=1 + (k == 0), max_size=3))
        chain.add(Concat(name=f"cat{k}", source=source, others=tuple(others)))
        names.append(f"cat{k}")
    if draw(st.booleans()):
        n = chain.shape[0]
        weight = draw(values(fmt, (n, 1, 1, 1)))
        chain.add(Convolution(name="depthwise", source=chain.last, kernel="adder", weight=weight, weight_format=fmt,
                              pad=draw(values(fmt, n)), groups=n))  # fmt: skip

    check(chain.program(), draw(images_of(shape)))


def test_concat_keeps_the_order_of_what_it_joins():
    chain = Chain((2, 1, 2), unsigned(8))
    chain.last = "pixels"
    chain.requantise("inverse", unsigned(8), np.full(2, -1), np.full(2, 255), 0)
    chain.add(Concat(name="cat", source="inverse", others=("pixels", "stored", "inverse")))

    result = check(chain.program(), np.array([[[[1, 2]], [[3, 4]]]], np.uint8))

    rows = result.tensors["cat"][0, :, 0].tolist()
    assert rows == [[254, 253], [252, 251], [1, 2], [3, 4], [1, 2], [3, 4], [254, 253], [252, 251]]


def test_concat_joins_a_sum_and_a_stored_tensor_of_one_format():
    """The two are held in different types; neither may be cut to the other's."""
    chain = Chain((1, 1, 1), signed(9))
    chain.add(Convolution(name="conv", source="pixels", kernel="adder", weight=np.full((1, 1, 1, 1), 255),
                          weight_format=unsigned(8), pad=np.zeros(1, np.int64)))  # fmt: skip
    assert chain.format == signed(9)
    for source, other in (("conv", "stored"), ("stored", "conv")):
        chain.add(Concat(name=f"{source}_first", source=source, others=(other,)))

    result = check(chain.program(), np.array([0, 255], np.uint8).reshape(2, 1, 1, 1))

    assert result.tensors["conv_first"][:, :, 0, 0].tolist() == [[-255, -256], [0, 255]]
    assert result.tensors["stored_first"][:, :, 0, 0].tolist() == [[-256, -255], [255, 0]]


# Pools and the end of a network


@pytest.mark.parametrize("kind", [MaxPool, AveragePool])
@settings(max_examples=80)
@given(data=st.data())
def test_pool_equals_the_loops(kind, data):
    """A padded tap of a max pool never wins, also when all pixels are negative."""
    draw = data.draw
    size = draw(st.integers(1, 3))
    shape = draw(shapes(least=size))
    chain = Chain(shape, draw(formats()))
    more = {"padding": draw(st.integers(0, size // 2))} if kind is MaxPool else {}
    chain.add(kind(name="pool", source="stored", size=size, stride=draw(st.integers(1, 3)), **more))

    check(chain.program(), draw(images_of(shape)))


# Moves


@settings(max_examples=80)
@given(data=st.data())
def test_shift_of_channels_equals_the_loops(data):
    """Any offsets, also beyond the image; any pad; neighbours alike or not."""
    draw = data.draw
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    chain = Chain(shape, draw(formats()))
    offsets = draw(arrays(np.int64, (shape[0], 2), elements=st.integers(-3, 3)))
    pad = {"pad": draw(values(chain.format, shape[0]))} if draw(st.booleans()) else {}
    chain.add(SpatialShift(name="moved", source="stored", offsets=offsets, **pad))

    check(chain.program(), draw(images_of(shape)))


def test_shift_moves_down_and_to_the_right():
    chain = Chain((2, 2, 3), unsigned(8))
    offsets, pad = np.array([[1, 0], [0, -2]]), np.array([9, 8])
    chain.add(SpatialShift(name="moved", source="stored", offsets=offsets, pad=pad))

    result = golden.run(chain.program(), np.arange(1, 13, dtype=np.uint8).reshape(1, 2, 2, 3), trace=True)

    assert result.tensors["moved"][0].tolist() == [[[9, 9, 9], [1, 2, 3]], [[9, 8, 8], [12, 8, 8]]]


@pytest.mark.parametrize("kind", [PixelShuffle, Upsample])
@settings(max_examples=40)
@given(data=st.data())
def test_enlarged_map_equals_the_loops(kind, data):
    draw = data.draw
    factor = draw(st.integers(1, 3))
    channels = draw(st.integers(1, 2)) * (factor**2 if kind is PixelShuffle else 1)
    shape = channels, draw(st.integers(1, 4)), draw(st.integers(1, 4))
    chain = Chain(shape, draw(formats()))
    chain.add(kind(name="larger", source="stored", factor=factor))

    check(chain.program(), draw(images_of(shape)))


@pytest.mark.parametrize("factor", [2, 3])
def test_pixel_shuffle_has_the_order_of_torch(factor):
    shape = (2 * factor**2, 3, 2)
    op = PixelShuffle(name="larger", source="pixels", factor=factor)
    program = Program(ops=(Input(name="pixels", shape=shape), op))
    images = random_images(program, 2, 0)

    output = golden.run(program, images).output

    expected = torch.nn.functional.pixel_shuffle(torch.from_numpy(images.astype(np.int64)), factor)
    assert np.array_equal(output, expected.numpy())


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_random_moves_equal_the_loops(seed, raw):
    program = random_reshaping(seed, raw)

    check(program, random_images(program, 2, seed))


def test_random_moves_have_everything_and_are_not_stuck():
    """Else the tests on them would protect less than they say: moves of pixels, features, bits and sums."""
    programs = [random_reshaping(seed) for seed in range(40)]
    moves = [(p, op) for p in programs for op in p.ops if isinstance(op, SpatialShift | PixelShuffle | Upsample)]

    for kind in (SpatialShift, PixelShuffle, Upsample):
        read = [p.by_name[op.source] for p, op in moves if isinstance(op, kind)]
        assert {Convolution, Requantise, Threshold} <= {type(op) for op in read}, kind
        assert len(read) > 9
    assert any(op.source == "pixels" for _, op in moves)
    assert any(p.format(op.source) == ONE_BIT for p, op in moves)
    outputs = [golden.run(p, random_images(p, 20, 0)).scores for p in programs]
    assert sum(len(np.unique(scores, axis=0)) > 3 for scores in outputs) > 20


def test_raw_output_is_the_last_tensor_and_has_no_classes():
    program = random_reshaping(3, raw=True)
    images = random_images(program, 5, 3)

    result = golden.run(program, images, trace=True)

    assert result.output.shape == (5, *program.shape(program.ops[-1].name)) and program.output == program.ops[-1].name
    assert np.array_equal(result.output, result.tensors[program.output])
    assert golden.run(program, images[:0]).output.shape == (0, *program.shape(program.output))
    for part in ("scores", "classes"):
        with pytest.raises(UserError, match=f"class scores are needed, .* raw result of '{program.output}'"):
            getattr(result, part)


def test_flatten_is_channel_first():
    chain = Chain((2, 2, 2), unsigned(8))
    pixels = np.arange(8, dtype=np.uint8).reshape(1, 2, 2, 2)

    result = golden.run(chain.program(), pixels, trace=True)

    assert result.tensors["flat"].shape == (1, 8, 1, 1)
    assert result.tensors["flat"].ravel().tolist() == list(range(8))


@given(scores=st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_arg_max_takes_the_lowest_index_on_a_tie(scores):
    n = len(scores)
    identity = np.eye(n, dtype=np.int64)[:, :, None, None]
    fc = Convolution(name="fc", source="pixels", kernel="mult", weight=identity, weight_format=signed(2),
                     pad=np.zeros(n, np.int64))  # fmt: skip
    program = Program(ops=(Input(name="pixels", shape=(n, 1, 1)), fc, ArgMax(name="argmax", source="fc")))

    result = golden.run(program, np.array(scores, np.uint8).reshape(1, n, 1, 1), trace=True)

    assert result.scores.tolist() == [scores]
    assert result.classes.tolist() == [scores.index(max(scores))]
    assert result.tensors["argmax"].ravel().tolist() == result.classes.tolist()
