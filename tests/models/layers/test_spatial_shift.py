"""The spatial shift of channels: against naive loops, with its gradient; what is no offset is refused."""

import itertools

import pytest
import torch
from addax.models.layers.spatial_shift import SpatialShift2d

OFFSETS = [(0, 0), (1, -2), (-3, 3), (1, -2), (0, 1)]


def naive(x, offsets):
    """By the definition, one pixel after the other."""
    result = torch.zeros_like(x)
    images, channels, height, width = x.shape
    for n, c, i, j in itertools.product(range(images), range(channels), range(height), range(width)):
        row, column = i - offsets[c][0], j - offsets[c][1]
        if 0 <= row < height and 0 <= column < width:
            result[n, c, i, j] = x[n, c, row, column]
    return result


@pytest.mark.parametrize("size", [(5, 6), (1, 1), (2, 4)])
def test_every_channel_moves_by_its_own_offset(size):
    """Also where it leaves the image altogether."""
    x = torch.randn(2, len(OFFSETS), *size, generator=torch.Generator().manual_seed(0))

    assert torch.equal(SpatialShift2d(OFFSETS)(x), naive(x, OFFSETS))


def test_gradient_moves_back():
    x = torch.randn(1, len(OFFSETS), 4, 3, dtype=torch.double, requires_grad=True)

    assert torch.autograd.gradcheck(SpatialShift2d(OFFSETS), x)


def test_offsets_are_saved_with_the_weights_and_do_not_learn():
    layer = SpatialShift2d(torch.tensor(OFFSETS))

    assert list(layer.parameters()) == []
    other = SpatialShift2d([(0, 0)] * len(OFFSETS))
    other.load_state_dict(layer.state_dict())
    assert other.offsets.tolist() == [list(pair) for pair in OFFSETS]


@pytest.mark.parametrize("offsets", [[], [1, 2], [(1, 2, 3)], [(0.5, 1.0)]])
def test_offsets_are_pairs_of_integers(offsets):
    with pytest.raises(ValueError, match=r"offsets must be integers \(dy, dx\) for every channel"):
        SpatialShift2d(offsets)


def test_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="offsets are for 5 channels, the tensor has 4"):
        SpatialShift2d(OFFSETS)(torch.zeros(1, 4, 3, 3))
