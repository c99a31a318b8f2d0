"""Adder layers with everything that their operator has: dilation, groups, sides that differ, a bias."""

import numpy as np
import pytest
import torch
from addax.models.compute.shape import pair_of
from addax.models.layers.adder import AdderConv2d
from addax.models.training.loop import to_float
from addax.quant import golden
from addax.quant.fold.calibrate import Grid
from addax.quant.fold.scheme import Scheme
from addax.quant.formats import signed
from addax.quant.lower.lowering import lower
from addax.quant.qat.layers import SharedScaleAdderConv2d
from adder_definition import Case, defined
from lowered import conv
from torch import nn
from torchnets import Net

pytestmark = pytest.mark.usefixtures("seed")
OPTIONS = {
    "dilated": ({"kernel_size": 3, "dilation": 2, "padding": 2}, 384),
    "not square": ({"kernel_size": (1, 5), "padding": (0, 2), "stride": (2, 1)}, 192),
    "grouped": ({"kernel_size": 3, "groups": 2, "padding": 1}, 384),
    "biased": ({"kernel_size": 3, "bias": True, "padding": 1}, 384),
}


def made(kernel_size, **options):
    layer = AdderConv2d(4, 6, kernel_size, **options)
    if layer.bias is not None:
        nn.init.normal_(layer.bias, std=20.0)
    return layer


@pytest.mark.parametrize("groups", [1, 2], ids=["one step", "a step for each half of the filters"])
@pytest.mark.parametrize(("options", "features"), OPTIONS.values(), ids=OPTIONS.keys())
def test_integers_are_near_the_float_layer(fit, train_set, test_set, options, features, groups):
    """At 16 bits nothing but the meaning of an option can move a feature by more than its rounding."""
    net = fit(
        Net(
            lambda n, x: n.fc(n.flat(n.relu2(n.bn2(n.c2(n.relu1(n.bn1(n.c1(x)))))))),
            c1=conv("mult", 1, 4), bn1=nn.BatchNorm2d(4), relu1=nn.ReLU(),
            c2=made(**options), bn2=nn.BatchNorm2d(6), relu2=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(features, 10),
        )
    )  # fmt: skip
    program = lower(net, train_set.x[:100], scheme=Scheme(bits=16, groups=groups))
    tensors = golden.run(program, test_set.x[:20], trace=True).tensors
    name = next(op.name for op in program.ops if op.name.startswith("c2") and op.name.endswith("_out"))
    with torch.no_grad():
        wanted = net.relu2(net.bn2(net.c2(net.relu1(net.bn1(net.c1(to_float(test_set.x[:20])))))))
    wanted = wanted.clamp(max=program.by_name[name].hi * program.steps[name]).numpy()
    error = np.abs(tensors[name] * program.steps[name] - wanted)
    assert np.quantile(error, 0.98) < 0.01 * wanted.std(), (
        "a few features may lie beyond a grid of few calibration images"
    )


@pytest.mark.parametrize(("options", "features"), OPTIONS.values(), ids=OPTIONS.keys())
def test_layers_trained_at_few_bits_compute_and_learn_on_rounded_operands(options, features):
    """Their gradients are those of the operator: raw, so that they are scaled once per step."""
    grid = Grid(format=signed(4), step=0.25)
    float_layer = made(**options)
    layer = SharedScaleAdderConv2d(float_layer, grid)
    x = torch.randn(2, 4, 8, 8, requires_grad=True)
    y = layer(x)
    upstream = torch.randn_like(y)
    y.backward(upstream)

    rounded, words = ((t.detach() / 0.25).round().clamp(-8, 7) * 0.25 for t in (x, layer.weight))
    lost = (layer.weight - layer.weight.clamp(-2, 1.75)).abs().flatten(1).sum(1).detach()
    window = {name: pair_of(getattr(layer, name)) for name in ("stride", "padding", "dilation")}
    bias = -lost if layer.bias is None else layer.bias.detach() - lost
    case = Case(x=rounded, weight=words, bias=bias, groups=layer.groups, **window)
    wanted = defined(case, upstream)
    torch.testing.assert_close(y.double(), wanted.y, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer.weight.grad.double(), wanted.weight, rtol=1e-4, atol=1e-4)
    inside = (x > -2.1) & (x < 1.8)
    torch.testing.assert_close(x.grad.double() * inside, wanted.x * inside, rtol=1e-4, atol=1e-4)
