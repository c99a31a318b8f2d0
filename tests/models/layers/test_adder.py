"""The adder layer against its definition, written out as loops over Python floats."""

import itertools

import pytest
import torch
from addax.models.compute.adder import adder_conv2d
from addax.models.layers.adder import AdderConv2d
from addax.models.layers.adder_gradients import scale_adder_gradients
from addax.models.layers.kernels import convolution
from torch import nn


def operands(seed, n=7, k=5, o=3, scale=2.0):
    generator = torch.Generator().manual_seed(seed)

    def make(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * scale

    return make(n, k).requires_grad_(), make(o, k).requires_grad_(), make(n, o)


def product(x, w):
    """The operator on rows of patches (N, K) and of filters (O, K)."""
    return adder_conv2d(x[:, :, None, None], w[:, :, None, None])[:, :, 0, 0]


def scaled(gradient):
    """A filter gradient as the learning rule scales it."""
    layer = AdderConv2d(gradient.shape[1], gradient.shape[0], 1)
    layer.weight.grad = gradient[:, :, None, None].float()
    scale_adder_gradients(layer)
    return layer.weight.grad[:, :, 0, 0]


def naive_convolution(x, weight, stride, padding):
    """Minus the L1 distance; a tap outside the image reads 0."""
    count, channels, height, width = x.shape
    outputs, _, size, _ = weight.shape
    rows, columns = ((n + 2 * padding - size) // stride + 1 for n in (height, width))
    result = torch.zeros(count, outputs, rows, columns, dtype=x.dtype)
    for b, o, r, c in itertools.product(range(count), range(outputs), range(rows), range(columns)):
        total = 0.0
        for i, ky, kx in itertools.product(range(channels), range(size), range(size)):
            y, z = r * stride + ky - padding, c * stride + kx - padding
            pixel = x[b, i, y, z].item() if 0 <= y < height and 0 <= z < width else 0.0
            total -= abs(pixel - weight[o, i, ky, kx].item())
        result[b, o, r, c] = total
    return result


@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "stride", "padding", "height", "width"),
    [(1, 1, 1, 1, 0, 1, 1), (2, 3, 3, 1, 1, 4, 5), (3, 2, 3, 2, 1, 5, 4), (2, 4, 5, 1, 0, 5, 6), (1, 2, 2, 2, 1, 3, 3)],
)
def test_forward_is_minus_the_l1_distance(inputs, outputs, size, stride, padding, height, width):
    torch.manual_seed(0)
    layer = AdderConv2d(inputs, outputs, size, stride=stride, padding=padding).double()
    x = torch.randn(2, inputs, height, width, dtype=torch.float64)

    result = layer(x)

    expected = naive_convolution(x, layer.weight.detach(), stride, padding)
    assert result.shape == expected.shape
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
    assert result.max() <= 0


def test_float32_forward_stays_near_the_exact_sum():
    """Protects the choice of distance routine: an expansion by matrix products would lose digits here."""
    torch.manual_seed(1)
    layer = AdderConv2d(8, 4, 3, padding=1)
    x = 100 * torch.rand(1, 8, 6, 6)

    expected = naive_convolution(x.double(), layer.weight.detach().double(), 1, 1)
    torch.testing.assert_close(layer(x).double(), expected, rtol=1e-5, atol=0)


def test_padded_tap_contributes_minus_the_magnitude_of_its_weight():
    layer = AdderConv2d(1, 1, 3, padding=1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[[1.0, -2.0, 4.0], [8.0, 100.0, -16.0], [-32.0, 64.0, 128.0]]]]))

    result = layer(torch.full((1, 1, 1, 1), 100.0))

    assert result.item() == -(1 + 2 + 4 + 8 + 16 + 32 + 64 + 128)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_filter_gradient_is_the_difference_and_its_rule_gives_it_an_rms_of_one_fifth(seed, factor):
    """The rule of the authors: ``sum (x - w) * g``, not its sign, with one norm over the whole layer."""
    x, w, g = operands(seed)

    product(x, w).backward(g * factor)

    naive = torch.zeros_like(w)
    for n, o, k in itertools.product(range(7), range(3), range(5)):
        naive[o, k] += (x[n, k].item() - w[o, k].item()) * g[n, o].item() * factor
    torch.testing.assert_close(w.grad, naive, rtol=1e-12, atol=1e-12 * naive.abs().max().item())
    rule = scaled(w.grad)
    assert rule.square().mean().sqrt().item() == pytest.approx(0.2, rel=1e-6)
    torch.testing.assert_close(rule.double() / rule.norm(), naive / naive.norm(), rtol=0, atol=1e-6)


def test_norm_is_taken_over_the_layer_and_not_over_each_filter():
    """A filter that is seldom to blame must move less than the others."""
    x, w, g = operands(0)

    product(x, w).backward(g * torch.tensor([1.0, 1.0, 1e-3], dtype=torch.float64))

    rms = scaled(w.grad).square().mean(1).sqrt()
    assert rms[2] < 0.01 * rms[:2].min()


def test_filter_gradient_of_a_whole_convolution_has_the_same_rms():
    torch.manual_seed(2)
    layer = AdderConv2d(3, 4, 3, stride=2, padding=1)
    x = torch.randn(2, 3, 7, 7)

    (layer(x) * torch.randn(2, 4, 4, 4)).sum().backward()
    scale_adder_gradients(layer)

    assert layer.weight.grad.shape == layer.weight.shape
    assert layer.weight.grad.square().mean().sqrt().item() == pytest.approx(0.2, rel=1e-5)


def test_no_blame_gives_no_filter_gradient():
    """Protects against 0 / 0 where nothing is to be learned."""
    x, w, g = operands(0)

    product(x, w).backward(torch.zeros_like(g))

    assert not w.grad.any() and not x.grad.any() and not scaled(w.grad).any()


@pytest.mark.parametrize("seed", range(4))
def test_feature_gradient_is_the_clipped_difference(seed):
    x, w, g = operands(seed)

    product(x, w).backward(g)

    naive = torch.zeros_like(x)
    for n, o, k in itertools.product(range(7), range(3), range(5)):
        naive[n, k] += min(1.0, max(-1.0, w[o, k].item() - x[n, k].item())) * g[n, o].item()
    clipped = (w.detach()[None] - x.detach()[:, None]).abs() > 1
    assert clipped.any() and not clipped.all(), "the example must reach both sides of the clip"
    torch.testing.assert_close(x.grad, naive, rtol=0, atol=1e-12)


def test_feature_gradient_goes_back_through_padding_and_overlap():
    """The gradient of a pixel is the sum over all windows that see it, nothing for padded taps."""
    torch.manual_seed(3)
    layer = AdderConv2d(2, 3, 3, padding=1).double()
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    g = torch.randn(1, 3, 3, 4, dtype=torch.float64)

    layer(x).backward(g)

    naive = torch.zeros_like(x)
    for o, r, c, i, ky, kx in itertools.product(range(3), range(3), range(4), range(2), range(3), range(3)):
        y, z = r + ky - 1, c + kx - 1
        if 0 <= y < 3 and 0 <= z < 4:
            difference = layer.weight[o, i, ky, kx].item() - x[0, i, y, z].item()
            naive[0, i, y, z] += min(1.0, max(-1.0, difference)) * g[0, o, r, c].item()
    torch.testing.assert_close(x.grad, naive, rtol=0, atol=1e-12)


@pytest.mark.parametrize("wanted", ["patches", "weight"])
def test_only_the_gradient_that_is_wanted_is_made(wanted):
    x, w, g = operands(1)
    (w if wanted == "patches" else x).requires_grad_(False)

    product(x, w).backward(g)

    assert (x.grad is not None) == (wanted == "patches")
    assert (w.grad is not None) == (wanted == "weight")


def test_weights_start_from_a_unit_gaussian():
    torch.manual_seed(0)
    weight = AdderConv2d(16, 32, 5).weight.detach()

    assert abs(weight.mean().item()) < 0.03
    assert weight.std().item() == pytest.approx(1.0, abs=0.03)


def test_output_of_a_gaussian_layer_has_the_derived_mean_and_variance():
    """E|Z| = 0.797885 s and Var|Z| = 0.363380 s^2, with s^2 = Var x + Var w, summed over the taps."""
    generator = torch.Generator().manual_seed(0)
    taps, spread = 64, 2.0
    x = 3**0.5 * torch.randn(4000, taps, generator=generator)
    out = product(x, torch.randn(400, taps, generator=generator))

    assert out.mean().item() == pytest.approx(-0.797885 * taps * spread, rel=0.005)
    assert out.var().item() == pytest.approx(0.363380 * taps * spread**2, rel=0.03)


def test_convolution_builds_the_kernel_that_it_is_asked_for():
    adder, mult = (convolution(kernel, 3, 4, 5, stride=2, padding=1) for kernel in ("adder", "mult"))

    assert isinstance(adder, AdderConv2d) and isinstance(mult, nn.Conv2d)
    x = torch.zeros(1, 3, 9, 9)
    assert adder(x).shape == mult(x).shape == (1, 4, 4, 4)
    assert mult.bias is None
    assert repr(adder) == "AdderConv2d(3, 4, kernel_size=5, stride=2, padding=1)"


def test_unknown_kernel_is_named():
    with pytest.raises(ValueError, match="kernel must be one of adder, mult, xnor, shift, not 'nand'"):
        convolution("nand", 1, 1, 1)
