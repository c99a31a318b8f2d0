"""A trace says where an integer network leaves its float model, and nothing where it does not."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models.layers.adder import AdderConv2d
from addax.models.layers.binary import BinaryConv2d, Sign
from addax.models.nets import zoo
from addax.quant import golden
from addax.quant.lower.lowering import lower
from addax.quant.lower.trace import compare
from torch import nn
from torchnets import Net, pictures, run, settle

SHAPE = (1, 8, 8)
IMAGES = pictures(100, SHAPE, seed=1)  # more than one batch


def binary():
    torch.manual_seed(0)
    made = Net(
        lambda n, x: n.flat(n.fc(n.pool(n.s1(n.b1(n.c1(n.s0(n.b0(n.c0(x))))))))),
        c0=BinaryConv2d(1, 6, 3), b0=nn.BatchNorm2d(6), s0=Sign(), c1=BinaryConv2d(6, 8, 3), b1=nn.BatchNorm2d(8),
        s1=Sign(at_zero=False), pool=nn.MaxPool2d(2), fc=BinaryConv2d(8, 5, 2), flat=nn.Flatten(),
    )  # fmt: skip
    return settle(made, pictures(60, SHAPE), signs=(1.0, -1.0))


def residual():
    torch.manual_seed(0)
    made = Net(
        lambda n, x: n.fc(n.flat(n.r2(n.b2(n.a(n.r1(n.b1(n.c(x))))) + n.r1(n.b1(n.c(x)))))),
        c=nn.Conv2d(1, 4, 3, bias=False), b1=nn.BatchNorm2d(4), r1=nn.ReLU(), a=AdderConv2d(4, 4, 3, padding=1),
        b2=nn.BatchNorm2d(4), r2=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(144, 5),
    )  # fmt: skip
    return settle(made, pictures(60, SHAPE))


def test_network_without_roundings_has_no_error():
    """Bits and sums of bits are exact: every row is 0, on every batch."""
    net = binary()
    program = lower(net, pictures(60, SHAPE))

    found = compare(program, net, IMAGES)

    assert [(r.operation, r.bits, r.error, r.bias, r.clipped) for r in found.rows] == [
        ("s0", 1, 0.0, 0.0, 0.0), ("s1", 1, 0.0, 0.0, 0.0), ("pool", 1, 0.0, 0.0, 0.0),
        ("scores", program.score_format.bits, 0.0, 0.0, 0.0),
    ]  # fmt: skip
    assert (found.images, found.agreement) == (100, 1.0)


def test_rows_are_the_stored_tensors_by_both_names():
    """As a reader knows them: the operation of the Program, and the value of the float network that it stands for."""
    net = settle(zoo.build("lenet5", kernel="adder"), pictures(60, (1, 16, 16)))
    program = lower(net, pictures(60, (1, 16, 16)), bits=6)

    found = compare(program, net, pictures(70, (1, 16, 16), seed=1))

    assert [(r.operation, r.origin, r.bits) for r in found.rows] == [
        ("conv1_out", "relu1", 6), ("pool1", "pool1", 6), ("conv2_out", "relu2", 6), ("pool2", "pool2", 6),
        ("flatten", "flatten", 6), ("fc1_out", "relu3", 6), ("fc2_out", "relu4", 8),
        ("scores", "scores", program.score_format.bits),
    ]  # fmt: skip
    assert set(found.rows[0].keys()) == {"operation", "origin", "bits", "error", "bias", "clipped"}


@pytest.mark.parametrize("bits", [3, 8])
def test_figures_of_a_row_are_those_of_the_tensors(bits):
    """Against a float run in double precision and the golden model's own trace, over all batches at once."""
    net = residual()
    program = lower(net, pictures(60, SHAPE), bits=bits)

    found = {r.operation: r for r in compare(program, net, IMAGES).rows}

    tensors, exact = golden.run(program, IMAGES, trace=True).tensors, run(net, IMAGES)
    for name, theirs in (("c_out", exact["r1"]), ("a_out", exact["r2"]), ("scores", exact[""][..., None, None])):
        step, op = program.steps[name], program.by_name[name]
        difference, power = tensors[name] * step - theirs, np.sqrt(np.square(theirs).mean())
        assert found[name].error == pytest.approx(np.sqrt(np.square(difference).mean()) / power, rel=1e-3)
        assert found[name].bias == pytest.approx(difference.mean() / power, rel=1e-2, abs=1e-5)
        assert found[name].clipped == (tensors[name] == op.hi).mean()
        assert found[name].bits == op.format.bits
    assert found["a_out"].clipped > 0 or bits > 3


def test_agreement_is_the_share_of_equal_classes():
    net = residual()
    program = lower(net, pictures(60, SHAPE), bits=2)

    found = compare(program, net, IMAGES)

    classes = run(net, IMAGES)[""].argmax(1)
    assert found.agreement == (golden.run(program, IMAGES).classes == classes).mean() < 1


def test_less_bits_are_more_error():
    net, errors = residual(), []
    for bits in (3, 5, 8):
        found = compare(lower(net, pictures(60, SHAPE), bits=bits), net, IMAGES)
        errors.append(next(r.error for r in found.rows if r.operation == "a_out"))

    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_bias_says_which_way():
    """Scores that are all too large by a tenth of their size."""
    net = residual()
    program = lower(net, pictures(60, SHAPE))
    with torch.no_grad():
        net.fc.bias += 10.0

    (found,) = (r for r in compare(program, net, IMAGES).rows if r.operation == "scores")

    assert found.bias == pytest.approx(-10 / np.sqrt(np.square(run(net, IMAGES)[""]).mean()), rel=0.02)
    assert found.error == pytest.approx(-found.bias, rel=0.02)


class Other(nn.Module):
    def __init__(self):
        super().__init__()
        self.flat, self.dense = nn.Flatten(), nn.Linear(64, 5)

    def forward(self, x):
        return self.dense(self.flat(x))


def wider():
    """The names of `residual`, but other channels."""
    net = residual()
    net.c, net.b1 = nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6)
    net.a, net.b2 = AdderConv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
    net.fc = nn.Linear(216, 5)
    return net.eval()


def colourful():
    net = residual()
    net.c = nn.Conv2d(3, 4, 3, bias=False)
    return net.eval()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Other, "the float network has no value '.*'; is it the one that was quantised"),
        (wider, "c_out and 'r1.*' differ in shape; is it the network that was quantised"),
        (colourful, "the float network cannot take images of 1x8x8"),
    ],
    ids=["names", "shapes", "images"],
)
def test_another_network_is_refused(other, message):
    program = lower(residual(), pictures(20, SHAPE))

    with pytest.raises(UserError, match=rf"\A(?!.*\n).*{message}"):
        compare(program, other(), IMAGES)


@pytest.mark.parametrize("origins", [None, "", "{"])
def test_program_that_does_not_say_what_it_stands_for_is_refused(origins):
    program = lower(residual(), pictures(20, SHAPE))
    metadata = {k: v for k, v in program.metadata.items() if k != "origins"}

    with pytest.raises(UserError, match="does not say which float values its tensors stand for; quantise it again"):
        compare(
            replace(program, metadata=metadata if origins is None else {**metadata, "origins": origins}),
            residual(), IMAGES,
        )  # fmt: skip
    assert set(json.loads(program.metadata["origins"]).values()) >= {"fc"}
