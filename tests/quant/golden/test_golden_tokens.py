"""Operations on tokens: the golden model computes them as plain loops do."""

import numpy as np
import pytest
from addax.quant import golden
from addax.quant.formats import signed
from addax.quant.program import Concat, Input, MatMul, Norm, Program, Rearrange, Softmax, Unfold
from chains import Chain, formats, images_of
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import check
from networks import random_images
from token_networks import random_tokens


@settings(max_examples=25)
@given(data=st.data())
def test_product_of_tokens_equals_the_loops(data):
    """Of any formats, both ends of them common, of heads, rows and tokens of any number; one row may stand for all."""
    draw = data.draw
    heads, each, height, width = (draw(st.integers(1, most)) for most in (3, 4, 3, 4))
    form, kernel = draw(st.sampled_from(["scores", "context"])), draw(st.sampled_from(["mult", "adder"]))
    channels = heads * (width if form == "context" else each)
    chain = Chain((channels, height, width), draw(formats()))
    first, narrow = chain.last, chain.format
    other = narrow if kernel == "adder" else draw(formats())
    chain.requantise("other", other, np.ones(channels), np.full(channels, other.lo), draw(st.integers(0, 3)))
    chain.add(MatMul(name="sums", source=first, other="other", form=form, kernel=kernel, heads=heads))

    check(chain.program(), draw(images_of((channels, height, width))))


@pytest.mark.parametrize("seed", range(12))
def test_networks_of_tokens_equal_the_loops(seed):
    """Attention of several heads and sets, of keys from elsewhere, by either kernel."""
    program = random_tokens(seed)

    check(program, random_images(program, 2, seed))


def test_networks_of_tokens_have_everything():
    """Else the tests on them would protect less than they say."""
    programs = [random_tokens(seed) for seed in range(12)]
    products = [(p, op) for p in programs for op in p.ops if isinstance(op, MatMul)]

    assert {(op.kernel, op.form) for _, op in products} >= {
        ("mult", "scores"), ("adder", "scores"), ("mult", "context"), ("adder", "context")
    }  # fmt: skip
    assert {op.heads for _, op in products} == {1, 2, 3}
    assert any(p.shape(op.other)[1] != p.shape(op.source)[1] for p, op in products), "one row for all"
    assert any(p.shape(op.other)[2] != p.shape(op.source)[2] for p, op in products), "fewer keys than queries"
    assert {p.classifies for p in programs} == {True, False}
    assert {op.axis for p in programs for op in p.ops if isinstance(op, Concat)} == {"W", "H"}
    kinds = [type(op) for p in programs for op in p.ops]
    assert min(kinds.count(kind) for kind in (Softmax, Norm, Rearrange, Unfold)) > 1
    assert {op.mask is None for p in programs for op in p.ops if isinstance(op, Softmax)} == {True, False}


@pytest.mark.parametrize("kernel", ["mult", "adder"])
@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_widest_sums_are_exact(kernel, native, bits):
    """Of as many tokens and channels as a large layer has, at the ends of the format, odd in number: what is filled up
    must add nothing, and no partial sum may be rounded."""
    fmt, shape = signed(bits), (201, 1, 67)
    x = Input(name="pixels", shape=shape, format=fmt)
    program = Program(ops=(x, MatMul(name="s", source="pixels", other="pixels", form="scores", kernel=kernel)))
    rng = np.random.default_rng(bits)
    values = np.where(rng.random((2, *shape)) < 0.5, fmt.lo, rng.choice([fmt.hi, fmt.hi - 1], (2, *shape)))

    found = golden.run(program, values, native=native).output[:, :, 0]

    for image, sums in zip(values[:, :, 0].astype(object), found, strict=True):
        distances = abs(image[:, :, None] - image[:, None]).sum(0)
        expected = image.T @ image if kernel == "mult" else -distances
        assert sums.tolist() == expected.tolist()


def test_squares_of_the_ends_of_16_bits_are_exact():
    """Their sums take 33 bits, more than a product of 32-bit integers holds."""
    x = Input(name="pixels", shape=(3, 1, 2), format=signed(16))
    program = Program(ops=(x, MatMul(name="s", source="pixels", other="pixels", form="scores")))
    values = np.array([[[[-32768, 32767]], [[-32768, 32767]], [[-32768, -32768]]]])

    found = golden.run(program, values).output[0, :, 0]

    assert found.tolist() == [[3 << 30, -(2 * 32767 - 32768) * 32768], [-(2 * 32767 - 32768) * 32768,
                                                                         2 * 32767**2 + (1 << 30)]]  # fmt: skip
