"""Surgery: the kernels of any module by name, and what cannot be swapped is named and leaves all as it was."""

import copy

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models.layers.adder import AdderConv2d
from addax.models.layers.binary import BinaryConv2d
from addax.models.layers.shift import ShiftConv2d
from addax.models.nets.counting import kernel_of
from addax.models.nets.surgery import Dense, swap_kernels
from addax.quant import golden
from addax.quant.lower.lowering import lower
from addax.quant.program import Convolution
from torch import nn
from torchnets import pictures, run, settle


def users_network():
    """A network that knows nothing of addax."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Flatten(), nn.Linear(72, 20, bias=False), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 5),
    )  # fmt: skip


def kinds(net):
    return {path: kernel_of(layer) for path, layer in net.named_modules() if kernel_of(layer)}


def test_layers_get_the_kernel_of_the_first_pattern_that_fits():
    net = users_network()

    swapped = swap_kernels(net, {"0": "mult", "3.*": "adder", "5": "shift", "8": "mult", "*": "adder"})

    assert swapped == ["3.0", "5"]
    assert kinds(net) == {"0": "mult", "3.0": "adder", "5.convolution": "shift", "8": "mult"}
    assert (net[3][0].stride, net[3][0].padding) == (2, 1)
    assert net(torch.rand(2, 1, 8, 8)).shape == (2, 5)


@pytest.mark.parametrize(("kernel", "kind"), [("adder", AdderConv2d), ("shift", ShiftConv2d), ("xnor", BinaryConv2d)])
def test_weights_are_kept_where_that_is_asked_for(kernel, kind):
    net = users_network()
    before = net[3][0].weight.detach().clone()
    fresh, kept = copy.deepcopy(net), copy.deepcopy(net)

    swap_kernels(fresh, {"3.0": kernel})
    swap_kernels(kept, {"3.0": kernel}, keep_weights=True)

    layers = [next(m for m in swapped[3].modules() if isinstance(m, kind)) for swapped in (fresh, kept)]
    assert not torch.equal(layers[0].weight, before)
    assert torch.equal(layers[1].weight, before)


def test_swapped_network_goes_the_whole_way():
    """Of signs, adders and shifts at once, a dense layer too, to a Program that decides as the network does."""
    torch.manual_seed(0)
    net = users_network()
    swap_kernels(net, {"3.0": "xnor:dorefa", "5": "adder"})
    settle(net, pictures(64, (1, 8, 8)))
    images = pictures(60, (1, 8, 8), seed=1)

    program = lower(net, pictures(64, (1, 8, 8)), bits=12)

    assert [op.kernel for op in program.ops if isinstance(op, Convolution)] == ["mult", "xnor", "adder", "mult"]
    exact = run(net, images)[""].argmax(1)
    assert (golden.run(program, images).classes == exact).mean() >= 0.95
    assert len(np.unique(exact)) > 1


def test_layer_in_front_of_which_a_sign_stands_reads_bits():
    """A ReLU that stands there already is not undone by a sign that fires at 0."""
    net = users_network()
    swap_kernels(net, {"3.0": "xnor"})
    seen = []
    net[3][0].convolution.register_forward_pre_hook(lambda layer, given: seen.append(given[0]))

    net(torch.rand(4, 1, 8, 8))

    assert set(seen[0].unique().tolist()) == {-1.0, 1.0}


def test_layer_that_stands_in_two_places_stays_one():
    """Its weights are shared, and go on to be."""
    shared = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    net = nn.Sequential(shared, nn.ReLU(), shared)

    assert swap_kernels(net, {"*": "adder"}) == ["0", "2"]
    assert net[0] is net[2]
    assert isinstance(net[0], AdderConv2d)


def test_dense_layers_keep_their_function():
    """The same weights multiply the same features."""
    net = nn.Sequential(nn.Linear(5, 3, bias=False))
    x = torch.rand(4, 5)

    assert swap_kernels(net, {"0": "shift"}, keep_weights=True) == ["0"]
    assert isinstance(net[0], Dense)
    exact = nn.Linear(5, 3, bias=False)
    nn.init.ones_(exact.weight)
    nn.init.ones_(net[0].convolution.weight)
    assert torch.allclose(net[0](x), exact(x))
    tokens = torch.rand(2, 7, 5)
    assert torch.allclose(net[0](tokens), exact(tokens))


@pytest.mark.parametrize(
    ("layer", "kernels", "message"),
    [
        (nn.Conv2d(2, 2, 3, bias=False), {"0": "add"}, "kernel must be one of .*, not 'add'"),
        (nn.Conv2d(2, 2, 3, bias=False), {"conv*": "adder"}, r"no layer fits 'conv\*'; there are 0"),
        (nn.ReLU(), {"*": "adder"}, "there are none"),
        (nn.Conv2d(2, 2, 3), {"0": "shift"}, "layer '0' cannot have the shift kernel, which has no bias"),
        (
            nn.Conv2d(2, 2, (3, 1), bias=False),
            {"0": "shift"},
            r"the same kernel_size for rows and columns, not \(3, 1\)",
        ),
        (nn.Conv2d(2, 2, 3, bias=False, padding="same"), {"0": "xnor"}, "must pad with zeros, by a number of them"),
        (nn.Conv2d(2, 2, 3, bias=False, padding=1, padding_mode="reflect"), {"0": "xnor"}, "must pad with zeros"),
    ],
)
def test_what_cannot_be_swapped_is_named_and_nothing_is(layer, kernels, message):
    net = nn.Sequential(layer)

    with pytest.raises(UserError, match=message):
        swap_kernels(net, kernels)
    assert net[0] is layer


def test_groups_are_refused_where_a_kernel_has_none(monkeypatch):
    """Whatever the kernels of today have: a layer type without the parameter stands for one."""

    class Plain(nn.Module):
        def __init__(self, in_channels, out_channels, kernel_size, *, stride=1, padding=0):
            super().__init__()

    monkeypatch.setattr("addax.models.nets.surgery.layer_of", lambda kernel: Plain)
    net = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4, bias=False))

    with pytest.raises(
        UserError, match=r"layer '0' cannot have the adder kernel, which has no groups: it has groups 4"
    ):
        swap_kernels(net, {"0": "adder"})


def test_a_single_layer_has_no_name_to_be_swapped_by():
    with pytest.raises(UserError, match="put it into another one"):
        swap_kernels(nn.Conv2d(1, 1, 1, bias=False), {"*": "adder"})
