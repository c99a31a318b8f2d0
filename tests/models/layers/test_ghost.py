"""GhostSR's layers: a move that is learned and settles, moved copies of channels, noise that fades."""

import pytest
import torch
from addax.models.layers.adder import AdderConv2d
from addax.models.layers.ghost import GhostConv2d, LearnedShift2d, set_ghost_noise
from addax.models.layers.spatial_shift import SpatialShift2d
from torch import nn


@pytest.mark.parametrize("place", range(9))
def test_a_settled_move_is_a_spatial_shift(place):
    """Whatever the sign of what was learned: its magnitude chooses. The same map as by the layer without parameters."""
    torch.manual_seed(place)
    layer, x = LearnedShift2d(4).eval(), torch.randn(2, 4, 5, 6)
    with torch.no_grad():
        layer.choice.flatten()[place] = (-1) ** place * 9.0

    torch.testing.assert_close(layer(x), SpatialShift2d(layer.offsets)(x), rtol=0, atol=0)
    assert layer.offsets.tolist() == [[1 - place // 3, 1 - place % 3]] * 4
    assert sum(p.numel() for p in layer.parameters()) == 9


def test_training_draws_one_of_nine_moves_by_the_noise():
    """Without noise the largest is always taken; with it others are, too, and what comes out is still one move."""
    torch.manual_seed(0)
    layer, x = LearnedShift2d(1).train(), torch.zeros(1, 1, 3, 3)
    x[0, 0, 1, 1] = 1

    def drawn():
        out = layer(x).detach().flatten()
        torch.testing.assert_close(out.sort().values, torch.tensor([0.0] * 8 + [1.0]), atol=1e-5, rtol=0)
        return int(out.argmax())

    assert len({drawn() for _ in range(40)}) > 3
    layer.noise = 0.0
    settled = {drawn() for _ in range(40)}
    layer.eval()
    assert settled == {drawn()}


def test_the_gradient_of_a_move_is_that_of_the_window_it_stands_for():
    """Straight through: as if the nine numbers had been the window of a depthwise convolution."""
    torch.manual_seed(1)
    layer = LearnedShift2d(3).train().double()
    x, out = torch.randn(2, 3, 4, 5, dtype=torch.double), torch.randn(2, 3, 4, 5, dtype=torch.double)

    (layer(x) * out).sum().backward()

    window = torch.zeros(3, 3, dtype=torch.double, requires_grad=True)
    moved = nn.functional.conv2d(x, window.expand(3, 1, 3, 3), padding=1, groups=3)
    (moved * out).sum().backward()
    torch.testing.assert_close(layer.choice.grad, window.grad)


def test_noise_fades_from_epoch_to_epoch():
    layer = LearnedShift2d(1)
    net = nn.Sequential(nn.Sequential(layer))

    for epoch, noise in ((0, 1.0), (1, 0.97), (10, 0.97**10)):
        set_ghost_noise(net, epoch)
        assert layer.noise == pytest.approx(noise)


@pytest.mark.parametrize(("channels", "share", "computed"), [(8, 0.5, 4), (5, 0.5, 3), (6, 0.75, 5), (3, 1, 3)])
def test_channels_behind_the_computed_ones_are_these_moved(channels, share, computed):
    """Rounded up, so that there are always enough to move."""
    torch.manual_seed(2)
    layer, x = GhostConv2d("mult", 2, channels, share=share).eval(), torch.randn(1, 2, 4, 4)
    out, first = layer(x), layer.primary(x)

    assert torch.equal(out[:, :computed], first)
    if ghosts := channels - computed:
        torch.testing.assert_close(out[:, computed:], layer.shift(first[:, :ghosts]))
    assert out.shape[1] == channels


def test_a_ghost_convolution_of_adders_has_a_batch_norm():
    """Sums of adders are all negative: a ReLU of them, whatever small bias, has no gradient anywhere."""
    torch.manual_seed(0)
    layer = GhostConv2d("adder", 2, 4)
    adders, norm = layer.primary

    assert isinstance(adders, AdderConv2d) and adders.bias is None and isinstance(norm, nn.BatchNorm2d)
    made = layer(torch.rand(4, 2, 6, 6))
    assert 0.2 < (made > 0).float().mean() < 0.8


@pytest.mark.parametrize(
    ("kernel", "share", "message"),
    [
        ("mult", 0.4, "a ghost convolution computes a share of 0.5 to 1 of its channels, not 0.4"),
        ("xnor", 0.5, "the xnor kernel has no bias"),
        ("nand", 0.5, "kernel must be one of"),
    ],
)
def test_what_it_cannot_be_is_named(kernel, share, message):
    with pytest.raises(ValueError, match=message):
        GhostConv2d(kernel, 2, 4, share=share)
