"""Layouts against torch: whatever views and transpositions do to a tensor, its numbers are found where they are said to
be, and where they are moved to."""

import numpy as np
import torch
from addax.quant.lower.layout import Layout
from hypothesis import given, settings
from hypothesis import strategies as st

SHAPE = (6, 4, 9)
IMAGES = 2


def regrouped(draw, sizes):
    """Sizes with the same product, cut and joined at random."""
    flat = []
    for size in sizes:
        factor = draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        flat += [factor, size // factor]
    found = []
    for size in flat:
        if found and draw(st.booleans()):
            found[-1] *= size
        else:
            found.append(size)
    return found


@st.composite
def walks(draw):
    """A tensor of torch after some views, transpositions and slices, and the layout that they leave."""
    x = torch.arange(IMAGES * int(np.prod(SHAPE))).reshape(IMAGES, *SHAPE)
    batch = 1_000_003  # stands for the images
    held = [batch, *SHAPE]
    layout = Layout.of_map(held, SHAPE)
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            order = draw(st.permutations(range(len(held))))
            found, seen, held = layout.permuted(order).joined(), x.permute(order), [held[k] for k in order]
        else:
            at = held.index(batch)
            sizes = [*regrouped(draw, held[:at]), batch, *regrouped(draw, held[at + 1 :])]
            found = layout.viewed(sizes)
            if found is None:  # it cuts across axes, which is refused
                continue
            seen, held = x.reshape([IMAGES if n == batch else n for n in sizes]), sizes
        layout, x = found, seen
    return x, layout


@settings(max_examples=300, deadline=None)
@given(walks())
def test_views_and_transpositions_lose_no_number(walk):
    x, layout = walk
    held = np.arange(IMAGES * int(np.prod(SHAPE))).reshape(IMAGES, *SHAPE)

    split, order = layout.arrangement
    found = held.reshape(IMAGES, *split).transpose(order).reshape(x.shape)

    assert layout.shape == SHAPE
    assert np.array_equal(found, x.numpy())


@settings(max_examples=300, deadline=None)
@given(walks(), st.data())
def test_axes_are_moved_to_where_they_are_wanted(walk, data):
    """The split, order and shape of a move give what numpy does, and a constant comes where the values are."""
    x, layout = walk
    axes = data.draw(st.permutations([axis for group in layout.place for axis in group]))
    ends = sorted(data.draw(st.lists(st.integers(0, len(axes)), min_size=2, max_size=2)))
    place = tuple(axes[: ends[0]]), tuple(axes[ends[0] : ends[1]]), tuple(axes[ends[1] :])
    there = Layout(dims=layout.dims, place=place)
    held = np.arange(int(np.prod(SHAPE))).reshape(SHAPE)

    move = layout.move(place)
    split, sequence, shape = move or ((*SHAPE,), (0, 1, 2), SHAPE)
    moved = held.reshape(split).transpose(sequence).reshape(shape)

    again, order = there.arrangement
    image = moved.reshape(1, *again).transpose(order)
    batch = [k for k, n in enumerate(x.shape) if n == IMAGES]
    first = x.numpy() % held.size
    assert there.shape == shape
    assert np.array_equal(np.sort(image, axis=None), np.arange(held.size))
    if len(batch) == 1:
        one = first.take([0], axis=batch[0])
        assert np.array_equal(image.reshape(one.shape), one)
        assert np.array_equal(there.arranged(one), moved)


def test_a_tensor_lies_as_another_of_its_shape():
    """For a shortcut: one operand comes from a transposition, the other from a view."""
    mine = Layout.of_map((1_000_003, 12, 1, 10), (12, 1, 10)).permuted([0, 3, 1, 2]).viewed([1_000_003, 10, 3, 4])
    other = Layout.of_map((1_000_003, 10, 12), (10, 1, 12)).viewed([1_000_003, 10, 3, 4])
    found, place = mine.like(other)

    assert Layout(dims=found.dims, place=place).shape == other.shape
    held = np.arange(120).reshape(12, 1, 10)
    split, order, shape = found.move(place)
    assert np.array_equal(held.reshape(split).transpose(order).reshape(shape), held[:, 0].T[:, None])


def test_view_that_cuts_across_axes_is_none():
    layout = Layout.of_map((1_000_003, 6, 4), (6, 1, 4)).permuted([0, 2, 1])

    assert layout.viewed([1_000_003, 3, 8]) is None
    assert layout.viewed([2, 1_000_003, 12]) is None
