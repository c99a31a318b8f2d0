"""Products of tokens: shapes, formats, bounds and terms; what does not fit is refused by name."""

import numpy as np
import pytest
from addax.quant.formats import Format, format_for, signed, unsigned
from addax.quant.ops.base import Tensor
from addax.quant.program import Constant, MatMul
from hypothesis import given
from hypothesis import strategies as st
from operations import program

formats = st.builds(Format, bits=st.integers(1, 16), signed=st.booleans())


def product(**changes):
    return MatMul(**{"name": "sums", "source": "a", "other": "b", "form": "scores", "heads": 2, **changes})


def tensor(name, *shape, fmt=None):
    return Constant(name=name, value=np.zeros(shape, np.int64), format=fmt or unsigned(8))


def test_scores_have_a_channel_for_each_head_and_token_that_is_seen():
    """Of 2 heads of 3 channels each, of 5 queries and 4 keys: 2 * 4 channels of 5 tokens; a sum has 3 terms."""
    read = [Tensor((6, 7, 5), signed(4)), Tensor((6, 7, 4), signed(8))]

    found = product().infer(read)

    assert found == Tensor((8, 7, 5), format_for(-3 * 8 * 127, 3 * 8 * 128))
    assert product().macs(found.shape, read) == 8 * 7 * 5 * 3


def test_context_has_the_channels_of_the_values():
    """Of 2 heads, of 4 values of 3 channels each: what 5 tokens get of them, sums of 4 terms."""
    read = [Tensor((8, 7, 5), unsigned(8)), Tensor((6, 1, 4), signed(8))]
    op = product(form="context")

    found = op.infer(read)

    assert found == Tensor((6, 7, 5), format_for(-4 * 255 * 128, 4 * 255 * 127))
    assert op.macs(found.shape, read) == 6 * 7 * 5 * 4


@given(fmt=formats, each=st.integers(1, 6))
def test_sums_of_distances_have_the_narrowest_format(fmt, each):
    read = [Tensor((each, 1, 3), fmt), Tensor((each, 1, 3), fmt)]

    found = product(heads=1, kernel="adder").infer(read)

    assert found.format == format_for(-each * (fmt.hi - fmt.lo), 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": "product"}, "^sums: form must be one of scores, context, not 'product'$"),
        ({"kernel": "xnor"}, "^sums: kernel of a MatMul must be one of mult, adder, not 'xnor'$"),
        ({"heads": 4}, "^sums: heads must divide 6 channels of b, which 4 does not$"),
        ({"heads": 0}, "^sums: heads must divide 6 channels of b, which 0 does not$"),
        ({"heads": 2.0}, r"^sums: heads must be an integer, not 2\.0$"),
        ({"source": "c"}, "^sums: c must have 6 channels, as b has, not 8$"),
        ({"form": "context"}, "^sums: a must have 8 channels, 4 tokens of b for each of 2 heads, not 6$"),
        ({"other": "rows"}, "^sums: rows must have 3 rows, or 1 for all of them, not 2$"),
        ({"other": "wide"}, "^sums: a MatMul has operands of at most 16 bits; wide is int17$"),
        ({"other": "wide", "source": "wide"}, "^sums: a MatMul has operands of at most 16 bits; wide is int17$"),
        ({"other": "grid", "kernel": "adder"}, "^sums: an adder kernel needs one grid for both operands, not uint8 and "
                                               "int8$"),
    ],
)  # fmt: skip
def test_product_that_does_not_fit_is_refused_by_name(change, message):
    tensors = (
        tensor("a", 6, 3, 5), tensor("b", 6, 3, 4), tensor("c", 8, 3, 5), tensor("rows", 6, 2, 4),
        tensor("wide", 6, 3, 4, fmt=signed(17)), tensor("grid", 6, 3, 4, fmt=signed(8)),
    )  # fmt: skip

    with pytest.raises(ValueError, match=message):
        program(*tensors, product(**change))


@given(data=st.data())
def test_bounds_hold_for_whatever_lies_within_those_of_the_operands(data):
    """Folding leaves out what a layer cannot reach; a bound too narrow would cut values off, one too wide costs bits:
    the ends are reached."""
    draw = data.draw
    heads, each, tokens = (draw(st.integers(1, 3)) for _ in range(3))
    form, kernel = draw(st.sampled_from(["scores", "context"])), draw(st.sampled_from(["mult", "adder"]))
    channels = {"a": heads * (each if form == "scores" else tokens), "b": heads * each}
    ends = {
        name: tuple(np.sort(np.array(draw(st.lists(
            st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=count, max_size=count
        ))), axis=1).T) for name, count in channels.items()
    }  # fmt: skip
    op = product(form=form, kernel=kernel, heads=heads)
    read = [Tensor((count, 1, tokens), signed(5)) for count in channels.values()]

    least, most = op.bounds(read, ends.__getitem__)

    def f(x, y):
        return x * y if kernel == "mult" else -abs(x - y)

    assert len(least) == len(most) == op.infer(read).shape[0]
    for channel, (low, high) in enumerate(zip(least, most, strict=True)):
        if form == "scores":
            head = channel // tokens
            pairs = [(head * each + d, head * each + d) for d in range(each)]
        else:
            pairs = [(channel // each * tokens + j, channel) for j in range(tokens)]
        reached = [
            [f(x, y) for x in range(*_span(ends["a"], p)) for y in range(*_span(ends["b"], q))] for p, q in pairs
        ]
        assert low == sum(map(min, reached)) and high == sum(map(max, reached))


def _span(ends, channel):
    return int(ends[0][channel]), int(ends[1][channel]) + 1
