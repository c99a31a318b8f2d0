"""Whatever people write in PyTorch: each form is the same network in integers, within its rounding."""

import re

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models.layers.adder import AdderConv2d
from addax.models.training.loop import to_float
from addax.quant import golden
from addax.quant.fold.assembly import NOTES
from addax.quant.fold.scheme import Scheme
from addax.quant.lower.graph.export import trace
from addax.quant.lower.lowering import lower
from addax.quant.program import AveragePool, Convolution
from filed import CASES, REFUSED, filed_forms
from forms import FORMS, SHAPE, Cdist, Differences, TwoImages, authors_adder, made, without_scores
from torch import nn
from torch.nn import functional as F
from torchnets import Net, pictures, settle

IMAGES = pictures(40, SHAPE)
NETS = {
    "PaddingSame": (), "ViewMinus1": (), "Dropout2d": (), "FunctionalDropout": (), "FunctionalPool": (), "Mean": (),
    "NonSquareGap": (), "AuthorsAdder": (), "LogSoftmax": "aten.log_softmax at 'log_softmax' is left out",
}  # fmt: skip
"""Networks of ../shared/cases/nets.py, and what is said of them."""
BOUND = {8: 0.05, 16: 1e-3}
"""Largest difference of a score, as a share of the largest score."""


def difference(net, images, bits):
    """Of the scores, as a share of the largest; and the Program."""
    program = lower(net, images, scheme=Scheme(bits=bits, ranges="max"))
    with torch.no_grad():
        wanted = net(to_float(images)).numpy()
    found = golden.run(program, images).scores * program.steps[program.output]
    return np.abs(found - wanted).max() / np.abs(wanted).max(), program


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("bits", BOUND)
@pytest.mark.parametrize(("way", "end", "scores"), FORMS, ids=["-".join(filter(None, form)) for form in FORMS])
def test_form_is_what_torch_computes(way, end, scores, bits, capsys):
    net = made(way, end, scores)
    program = lower(net, IMAGES, scheme=Scheme(bits=bits, ranges="max"))

    with torch.no_grad():
        wanted = without_scores(net)(to_float(IMAGES)).numpy()
    found = golden.run(program, IMAGES).scores * program.steps[program.output]

    assert np.abs(found - wanted).max() < BOUND[bits] * np.abs(wanted).max()
    assert len(np.unique(found)) > 100
    assert ("is left out: scores are what it reads" in program.metadata.get(NOTES, "")) == (scores is not None)


@pytest.mark.parametrize("end", ["mean", "pool-squeeze", "pool-reshape", "convolution"])
def test_mean_of_a_map_is_a_sum_whatever_its_sides(end):
    """Adders alone: no convolution of ones, which would take lanes."""
    program = lower(made(None, end), IMAGES)

    assert [op.size for op in program.ops if isinstance(op, AveragePool)] == [SHAPE[1:]]
    assert sum(isinstance(op, Convolution) for op in program.ops) == 2


def test_forms_that_are_filed_pass_or_are_refused_by_name(capsys):
    """The table of ../shared/cases/forms.py, as it stands: which forms pass is counted and printed."""
    nets, images = filed_forms()
    passed = 0
    for name, net in nets.items():
        if name in REFUSED:
            with pytest.raises(UserError, match=re.escape(REFUSED[name])) as caught:
                lower(net, images)
            assert "\n" not in str(caught.value) and "forms.py:" in str(caught.value)
            continue
        program = lower(net, images)
        passed += len(golden.run(program, images).scores) == len(images)
    with capsys.disabled():
        print(f" {passed} of {len(nets)} forms pass", end=" ")
    assert (passed, len(nets)) == (39, 41)


@pytest.mark.parametrize("bits", BOUND)
@pytest.mark.parametrize("name", NETS)
def test_networks_that_are_filed_are_what_torch_computes(name, bits):
    """Those of ../shared/cases/nets.py, the layer of the AdderNet authors' repository among them."""
    names = {}
    exec(compile((CASES / "nets.py").read_text(), "nets.py", "exec"), names)
    torch.manual_seed(0)
    net, images = names[name]().eval(), pictures(40, (1, 16, 16))
    program = lower(net, images, scheme=Scheme(bits=bits, ranges="max"))

    with torch.no_grad():
        wanted = net(to_float(images)).numpy()
    found = golden.run(program, images).scores * program.steps[program.output]

    if NETS[name]:
        assert NETS[name] in program.metadata[NOTES]
        wanted, found = wanted - wanted.mean(1, keepdims=True), found - found.mean(1, keepdims=True)
    assert np.abs(found - wanted).max() < BOUND[bits] * np.abs(wanted).max()
    kernels = [op.kernel for op in program.ops if isinstance(op, Convolution)]
    assert ("adder" in kernels) == (name == "AuthorsAdder")


@pytest.mark.parametrize("options", [{}, {"padding": 1}, {"padding": 1, "stride": 2}], ids=str)
@pytest.mark.parametrize("kind", [Cdist, Differences])
def test_adder_layer_of_others_is_known_by_what_it_computes(kind, options):
    """By cdist and by differences, with the name of its module; the kernel has no multiplication."""
    torch.manual_seed(1)
    net = authors_adder(kind, **options)
    net(torch.zeros(2, *SHAPE))

    error, program = difference(settle(net, IMAGES), IMAGES, 8)

    layer = program.by_name["adder"]
    assert isinstance(layer, Convolution) and layer.kernel == "adder"
    assert error < 0.05
    ours = Net(net.flow, first=net.first, adder=AdderConv2d(4, 5, 3, **options), norm=net.norm, fc=net.fc)
    ours.adder.weight = net.adder.filters
    _, same = difference(ours.eval(), IMAGES, 8)
    assert np.array_equal(layer.weight, same.by_name["adder"].weight)


def test_distances_of_another_norm_are_no_adder_layer():
    net = authors_adder(Cdist, power=2)
    net(torch.zeros(2, *SHAPE))

    with pytest.raises(UserError, match=r"unsupported operation aten.im2col at 'im2col' .*; write AdderConv2d"):
        lower(net, IMAGES)


def test_layers_have_the_names_of_the_users_modules():
    """In operations and origins: modules by their path, functions by their name, weights of functions by theirs."""
    inner = Net(lambda n, x: F.relu(F.conv2d(x, n.kernel)), kernel=nn.Parameter(torch.randn(3, 2, 3, 3)))
    net = Net(
        lambda n, x: n.head(F.conv2d(n.blocks(x), n.taps).mean((2, 3))),
        blocks=nn.Sequential(nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU()), inner),
        taps=nn.Parameter(torch.randn(4, 3, 1, 1)), head=nn.Linear(4, 3),
    )  # fmt: skip

    program = lower(net, IMAGES)

    assert [op.name for op in program.ops] == [
        "pixels", "blocks_0_0", "blocks_0_0_out", "blocks_1", "blocks_1_out", "taps", "taps_out", "mean", "mean_out",
        "head", "scores", "argmax",
    ]  # fmt: skip


def test_network_is_as_it_was_when_it_has_been_lowered():
    """Layers that stay whole stand aside while torch exports; their functions come back, in a subclass, too."""

    class Mine(AdderConv2d):
        def forward(self, x):
            return super().forward(x)

    net = authors_adder()
    net.adder = Mine(4, 5, 3)
    before = net.eval()(to_float(IMAGES))

    program = lower(net, IMAGES)

    assert program.by_name["adder"].kernel == "adder"
    assert "forward" not in vars(net.adder) and torch.equal(net(to_float(IMAGES)), before)


def test_training_mode_is_left_for_lowering():
    """Dropout and batch statistics are for training; what `lower` reads is the network that will run."""
    net = made("dropout")
    wanted = lower(net, IMAGES)
    net.train()

    found = lower(net, IMAGES)

    assert not net.training and np.array_equal(golden.run(found, IMAGES).scores, golden.run(wanted, IMAGES).scores)


def test_in_place_change_is_seen_by_all_that_read_the_tensor():
    """A ReLU in place changes the shortcut that was taken before it, too."""
    net = Net(
        lambda n, x: n.fc((n.b(F.relu_(y := n.a(x))) + y).mean((2, 3))),
        a=nn.Conv2d(2, 4, 3), b=nn.Conv2d(4, 4, 1), fc=nn.Linear(4, 3),
    )  # fmt: skip

    error, _ = difference(net.eval(), IMAGES, 16)

    assert error < 1e-3


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (TwoImages, "the network must take one tensor, the images; it also takes 'y'"),
        (lambda: Net(lambda n, x: n.c(x.view(2, 2, 12, 10)), c=nn.Conv2d(2, 1, 3)), "fixes how many images it takes"),
        (lambda: Net(lambda n, x: n.c(x if x.mean() > 0 else -x), c=nn.Conv2d(2, 1, 3)), "depends on values of a tens"),
        (lambda: Net(lambda n, x: n.c(F.dropout(x)), c=nn.Conv2d(2, 1, 3)), "at 'dropout' .* pass training=self.train"),
        (lambda: Net(lambda n, x: n.c(x), c=nn.LazyConv2d(1, 3)), "tensor 'c.weight' has no values yet"),
        (lambda: Net(lambda n, x: F.conv2d(x, x[:1].mean((2, 3), keepdim=True))), "unsupported|depend on the images"),
        (lambda: Net(lambda n, x: n.c(F.pad(x, (1, 1, 1, 1), mode="reflect")), c=nn.Conv2d(2, 1, 3)),
         "padding at 'pad' .* with a constant, not 'reflect'"),
    ],
    ids=["two", "batch", "control", "dropout", "lazy", "weights", "reflect"],
)  # fmt: skip
def test_network_that_no_program_says_is_refused_in_one_line(net, message):
    with pytest.raises(UserError, match=message) as caught:
        lower(net(), IMAGES)
    assert "\n" not in str(caught.value)


def test_what_the_network_prints_is_kept_off_standard_output(capsys):
    """Scripts read JSON there."""
    net = made("shapes")
    capsys.readouterr()

    trace(net, SHAPE)

    printed = capsys.readouterr()
    assert printed.out == "" and "torch.Size" in printed.err
