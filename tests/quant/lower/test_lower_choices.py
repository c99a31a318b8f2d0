"""Choices by an arg-max, sums and maxima of channels, as people write them: the Program does what torch does."""

import subprocess

import numpy as np
import onnxruntime
import pytest
import torch
from addax.common.errors import UserError
from addax.models.data.sets import Images
from addax.models.training.loop import to_float
from addax.quant import golden
from addax.quant.export import export
from addax.quant.files.archive import program_bytes
from addax.quant.fold.scheme import Scheme
from addax.quant.lower.lowering import lower
from addax.quant.onnx.read import import_onnx
from addax.quant.program import ArgMax, Reduce, Select
from addax.quant.quantize import evaluate
from torch import nn
from torch.nn import functional as F
from torchnets import Net, pictures, settle

SHAPE = (3, 8, 7)
IMAGES = pictures(40, SHAPE)


def routed(flow, bits=16, **modules):
    """``flow`` of features and of three scores of each pixel, with heads a, b and c; and the Program."""
    torch.manual_seed(5)
    net = Net(
        flow, first=nn.Conv2d(3, 6, 3, padding=1), norm=nn.BatchNorm2d(6), router=nn.Conv2d(6, 3, 1),
        a=nn.Conv2d(6, 4, 1), b=nn.Conv2d(6, 4, 3, padding=1), c=nn.Conv2d(6, 4, 1), **modules,
    )  # fmt: skip
    return net, lower(settle(net, IMAGES), IMAGES, scheme=Scheme(bits=bits))


def features(n, x):
    return F.relu(n.norm(n.first(x)))


def nested(n, x):
    """As most write it: one condition behind the other."""
    x = features(n, x)
    mask = n.router(x).argmax(1, keepdim=True)
    return torch.where(mask == 0, n.a(x), torch.where(mask == 1, n.b(x), n.c(x)))


def turned(n, x):
    """The same with other comparisons, a dimension that comes back, and a condition for every channel."""
    x = features(n, x)
    mask = torch.argmax(n.router(x), dim=1).unsqueeze(1)
    inner = torch.where((mask < 2).expand(-1, 4, -1, -1), n.b(x), n.c(x))
    return torch.where(mask < 1, n.a(x), inner)


def exact(net, images):
    with torch.no_grad():
        return net(to_float(images)).numpy()


def agreement(net, program, images=IMAGES):
    """Share of values that are those of torch, within the rounding of 16 bits: pixels whose scores are nearly equal may
    go another way."""
    wanted = exact(net, images)
    found = golden.run(program, images).output * program.steps[program.output]
    return (np.abs(found - wanted) < 2e-3 * np.abs(wanted).max()).mean()


def kinds(program):
    return [type(op).__name__ for op in program.ops]


@pytest.mark.parametrize("flow", [nested, turned])
def test_choice_by_an_argmax_is_one_select(flow):
    """Of three branches, on one grid; whichever way it is written, no comparison and no second choice is left."""
    net, program = routed(flow)

    last = program.ops[-1]
    assert isinstance(last, Select) and len(last.branches) == 3
    assert kinds(program).count("Select") == kinds(program).count("ArgMax") == 1
    mask = golden.run(program, IMAGES, trace=[last.source]).tensors[last.source]
    assert set(np.unique(mask)) == {0, 1, 2}
    assert agreement(net, program) > 0.99


def test_two_branches_may_share_an_argmax_with_others():
    """A branch for two numbers, a second choice by the same mask, a constant addition between."""

    def flow(n, x):
        x = features(n, x)
        mask = n.router(x).argmax(1, keepdim=True)
        first = torch.where(mask == 2, n.a(x), n.b(x))
        return torch.where(mask >= 1, first + n.c(x), first)

    net, program = routed(flow)

    selects = [op for op in program.ops if isinstance(op, Select)]
    assert len(selects) == 2 and selects[0].branches[0] == selects[0].branches[1] != selects[0].branches[2]
    assert selects[0].source == selects[1].source
    assert agreement(net, program) > 0.99


def test_network_may_end_in_the_numbers_of_its_pixels():
    """A segmentation: what torch gives, (N, H, W), but where scores are nearly equal."""
    net, program = routed(lambda n, x: n.router(features(n, x)).argmax(1))

    assert isinstance(program.ops[-1], ArgMax) and not program.classifies
    assert (golden.run(program, IMAGES).output[:, 0] == exact(net, IMAGES)).mean() > 0.99


REDUCED = {
    "sum of channels": (lambda n, x: x.sum(1, keepdim=True), Reduce),
    "mean of channels": (lambda n, x: x.mean(dim=1, keepdim=True), Reduce),
    "largest of channels": (lambda n, x: torch.amax(x, 1, keepdim=True), Reduce),
    "sum of the map": (lambda n, x: x.sum((2, 3), keepdim=True), None),
    "sum of rows": (lambda n, x: x.sum(-2, keepdim=True), None),
    "mean of columns": (lambda n, x: x.mean(3, keepdim=True), None),
    "largest of the map": (lambda n, x: x.amax((2, 3), keepdim=True), None),
    "largest of columns": (lambda n, x: x.amax(3, keepdim=True), None),
}


@pytest.mark.parametrize("name", REDUCED)
def test_sums_means_and_maxima_are_what_torch_computes(name):
    """Over the channels they are an operation of their own, over rows and columns pools."""
    reduce, kind = REDUCED[name]
    net, program = routed(lambda n, x: n.last(reduce(n, n.a(features(n, x)))), last=nn.LazyConv2d(3, 1))

    wanted = exact(net, IMAGES)
    found = golden.run(program, IMAGES)
    found = found.output * program.steps[program.output]
    assert np.abs(found.reshape(wanted.shape) - wanted).max() < 4e-3 * np.abs(wanted).max()
    assert (kind in map(type, program.ops)) == (kind is not None)


def test_classifier_with_a_choice_is_the_same_in_onnx_and_c_and_is_evaluated(tmp_path):
    """8 bits: word by word in every executor; classes as the golden model has them."""
    _, program = routed(
        lambda n, x: n.fc(F.relu(nested(n, x)).sum((2, 3))), bits=8, fc=nn.Linear(4, 5)
    )  # fmt: skip
    expected = golden.run(program, IMAGES)
    for form in ("qonnx", "c"):
        export(program, tmp_path / form, fmt=form)

    session = onnxruntime.InferenceSession(tmp_path / "qonnx/network.onnx", providers=["CPUExecutionProvider"])
    scores, classes = session.run(None, {"pixels": IMAGES.astype(np.float32)})
    subprocess.run(["gcc", "-O1", "network.c", "-o", "network"], cwd=tmp_path / "c", check=True)
    said = subprocess.run([tmp_path / "c/network"], input=IMAGES.tobytes(), capture_output=True, check=True).stdout

    assert np.array_equal(scores, expected.scores) and np.array_equal(classes, expected.classes)
    assert np.array_equal([line.split()[:-1] for line in said.decode().splitlines()], expected.scores.astype(str))
    assert program_bytes(import_onnx(tmp_path / "qonnx/network.onnx")) == program_bytes(program)
    assert evaluate(program, Images(x=IMAGES, y=expected.classes)).correct == len(IMAGES)


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (lambda n, x: torch.where(n.a(x) > 0, n.a(x), n.b(x)),
         "unsupported operation aten.gt at 'gt' .*; compare an argmax over channels with a number, for torch.where; "),
        (lambda n, x: torch.where(torch.ones(1, 1, 8, 7) > 0, n.a(x), n.b(x)),
         "where at 'where' .* must choose by an argmax over"),
        (lambda n, x: torch.where(n.a(x).argmax(1, keepdim=True) == 0, n.a(x), n.a(x)[:, :1]),
         "does not fit together at 'where': branches have one format and shape"),
        (lambda n, x: torch.where(n.a(x).mean((2, 3), keepdim=True).argmax(1, keepdim=True).expand(-1, 1, 8, 7) == 0,
                                  n.a(x), n.b(x)), "where at 'where' .* must have a number for each pixel"),
        (lambda n, x: n.a(x).argmax(2), "argmax at 'argmax' .* must be over channels, dimension 1"),
        (lambda n, x: n.a(x).mean((2, 3)).argmax(1), "argmax at 'argmax' .* must be left out"),
        (lambda n, x: n.a(x) * (n.a(x).argmax(1, keepdim=True) == 1), "unsupported operation aten.eq"),
        (lambda n, x: n.a(x).sum(1), "sum at 'sum_1' .* must be over rows and columns, dimensions 2 and 3 of a map"),
        (lambda n, x: n.a(x).amax((1, 2, 3)), "amax at 'amax' .* must be over rows and columns"),
    ],
    ids=["values", "constant", "shapes", "one number", "rows", "class", "product", "rank", "all"],
)  # fmt: skip
def test_choice_that_no_program_says_is_refused(flow, message):
    with pytest.raises(UserError, match=message):
        routed(lambda n, x: flow(n, features(n, x)))
