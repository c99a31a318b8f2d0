"""Activations that are tables, products of tensors, squeeze-and-excitation as people write it."""

import subprocess

import numpy as np
import onnxruntime
import pytest
import torch
from addax.common.errors import UserError
from addax.models.training.loop import to_float
from addax.quant import golden
from addax.quant.export import export
from addax.quant.files.archive import program_bytes
from addax.quant.fold.scheme import Scheme
from addax.quant.lower.lowering import lower
from addax.quant.onnx.read import import_onnx
from addax.quant.program import Product, Requantise, Table
from torch import nn
from torch.nn import functional as F
from torchnets import Net, pictures, settle

SHAPE = (3, 10, 9)
IMAGES = pictures(40, SHAPE)
BOUND = {8: 0.06, 16: 2e-3}
"""Largest difference of a score, as a share of the largest. What a table reads has 12 bits at most."""
CURVES = {
    "SiLU": nn.SiLU(), "GELU": nn.GELU(), "GELU-tanh": nn.GELU("tanh"), "Sigmoid": nn.Sigmoid(), "Tanh": nn.Tanh(),
    "Hardswish": nn.Hardswish(inplace=True), "Hardsigmoid": nn.Hardsigmoid(), "Mish": nn.Mish(), "ELU": nn.ELU(0.7),
    "Softplus": nn.Softplus(),
}  # fmt: skip
WRITTEN = {
    "x*sigmoid(x)": (lambda n, x: x * x.sigmoid(), nn.SiLU()),
    "hard swish": (lambda n, x: F.hardsigmoid(x) * x, nn.Hardswish()),
    "mish": (lambda n, x: x * torch.tanh(F.softplus(x)), nn.Mish()),
    "tanh of sigmoids": (lambda n, x: 2 * torch.sigmoid(2 * x) - 1, nn.Tanh()),
    "clamped": (lambda n, x: F.silu(x).clamp(-0.25, 0.5), Net(lambda n, x: F.silu(x).clamp(-0.25, 0.5))),
}
"""Functions that are one table, and what they are."""


def net_of(flow, **modules):
    """``flow`` of 4 normalised channels, between a first layer and a classifier."""
    torch.manual_seed(3)
    net = Net(
        lambda n, x: n.fc(flow(n, n.norm(n.first(x))).mean((2, 3))), first=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4),
        fc=nn.Linear(4, 5), **modules,
    )  # fmt: skip
    return settle(net, IMAGES)


def difference(net, bits, images=IMAGES):
    """Of the scores, as a share of the largest; and the Program."""
    program = lower(net, images, scheme=Scheme(bits=bits))
    with torch.no_grad():
        wanted = net(to_float(images)).numpy()
    found = golden.run(program, images).scores * program.steps[program.output]
    return np.abs(found - wanted).max() / np.abs(wanted).max(), program


def kinds(program):
    return [type(op).__name__ for op in program.ops]


@pytest.mark.parametrize("bits", BOUND)
@pytest.mark.parametrize("name", CURVES)
def test_activation_is_a_table(name, bits):
    """One, behind the requantise of the layer in front of it, which makes what it reads."""
    error, program = difference(net_of(lambda n, x: n.act(x), act=CURVES[name]), bits)

    table = next(op for op in program.ops if isinstance(op, Table))
    read = program.by_name[table.source]
    assert error < BOUND[bits]
    assert isinstance(read, Requantise) and read.source == "first" and kinds(program).count("Table") == 1
    assert program.format(read.name).bits == min(bits, 12) and table.format.bits == bits
    assert table.format.signed == (table.entries.min() < 0)


@pytest.mark.parametrize("name", WRITTEN)
def test_functions_of_one_tensor_are_one_table(name):
    """However they are written: no product, no second table, no second rounding."""
    flow, meant = WRITTEN[name]
    error, program = difference(net_of(flow), 8)
    _, same = difference(net_of(lambda n, x: n.act(x), act=meant), 8)

    table, other = (next(op for op in p.ops if isinstance(op, Table)) for p in (program, same))
    assert error < BOUND[8] and kinds(program) == kinds(same)
    assert np.abs(table.entries - other.entries).max() <= 1


def test_what_a_table_reads_has_the_range_where_its_function_is_not_flat():
    """A sigmoid of sums that reach far gives 0 and 1 there, and its 8 bits are better spent in the middle."""
    net = net_of(lambda n, x: torch.sigmoid(40 * x))
    error, program = difference(net, 8)

    table = next(op for op in program.ops if isinstance(op, Table))
    assert error < BOUND[8]
    assert len(np.unique(table.entries)) > 80
    assert 4 < program.steps[table.source] * 127 < 12


# Squeeze and excitation


class Excitation(nn.Module):
    """As in many repositories: dense layers, a view, and a gate spread over the map."""

    def __init__(self, channels, reduction=2):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // reduction, bias=False), nn.ReLU(inplace=True),
            nn.Linear(channels // reduction, channels, bias=False), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x):
        b, c, _, _ = x.size()
        y = self.avg_pool(x).view(b, c)
        y = self.fc(y).view(b, c, 1, 1)
        return x * y.expand_as(x)


def excited(n, x):
    """As in torchvision: convolutions of one pixel."""
    return n.expand(F.silu(n.reduce(F.adaptive_avg_pool2d(x, 1)))).sigmoid() * x


def by_means(n, x):
    """As in timm's older networks, with a hard sigmoid."""
    gate = n.expand(F.relu(n.reduce(x.mean((2, 3), keepdim=True))))
    x *= F.hardsigmoid(gate)
    return x


def of_features(n, x):
    """Behind a dense layer of features, whose dimensions come back."""
    return x * torch.tanh(n.dense(x.mean((2, 3))))[:, :, None, None]


LAYERS = {"reduce": nn.Conv2d(4, 2, 1), "expand": nn.Conv2d(2, 4, 1)}
GATES = {
    "module": (lambda n, x: n.se(F.relu(x)), {"se": Excitation(4)}),
    "convolutions": (lambda n, x: excited(n, F.silu(x)), LAYERS),
    "means": (lambda n, x: by_means(n, F.hardswish(x)), LAYERS),
    "features": (lambda n, x: of_features(n, x), {"dense": nn.Linear(4, 4)}),
    "residual": (lambda n, x: F.relu(n.se(n.conv(F.relu(x))) + F.relu(x)),
                 {"se": Excitation(4), "conv": nn.Conv2d(4, 4, 3, padding=1)}),
    "maps": (lambda n, x: torch.sigmoid(n.conv(x)) * F.relu(x), {"conv": nn.Conv2d(4, 4, 3, padding=1)}),
    "square": (lambda n, x: x * x, {}),
    "h-swish by parts": (lambda n, x: x * F.relu6(x + 3) / 6, {}),
    "norm behind": (lambda n, x: F.relu(n.last(n.se(F.silu(x)))), {"se": Excitation(4), "last": nn.BatchNorm2d(4)}),
}  # fmt: skip


@pytest.mark.parametrize("bits", BOUND)
@pytest.mark.parametrize("name", GATES)
def test_product_is_what_torch_computes(name, bits):
    flow, modules = GATES[name]
    error, program = difference(net_of(flow, **modules), bits)

    assert error < BOUND[bits]
    assert any(isinstance(op, Product) for op in program.ops)
    assert len(np.unique(golden.run(program, IMAGES).scores)) > 50


def test_squeeze_and_excitation_is_no_more_than_it_must_be():
    """Means, two layers, a table, one product: the map is stored once for both of its readers."""
    _, program = difference(net_of(*GATES["module"][:1], **GATES["module"][1]), 8)

    assert kinds(program) == [
        "Input", "Convolution", "Requantise", "AveragePool", "Requantise", "Convolution", "Requantise", "Convolution",
        "Requantise", "Table", "Product", "Requantise", "AveragePool", "Requantise", "Convolution", "Requantise",
        "ArgMax",
    ]  # fmt: skip
    gated = next(op for op in program.ops if isinstance(op, Product))
    assert program.shape(gated.source) == (4, 8, 7) and program.shape(gated.other) == (4, 1, 1)
    assert not program.format(gated.name).signed


@pytest.mark.parametrize("bits", [8, 16])
def test_network_of_gates_and_tables_is_the_same_in_onnx_and_c(tmp_path, bits):
    """Word by word: of 8 bits in floats that hold every product, of 16 bits in integers."""
    flow, modules = GATES["convolutions"]
    _, program = difference(net_of(flow, **modules), bits)
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


@pytest.mark.parametrize(
    ("flow", "modules", "message"),
    [
        (lambda n, x: x * n.one(x), {"one": nn.Conv2d(4, 1, 1)},
         "product at 'mul' .* a map and one number for each of its channels, not of 4x8x7 and 1x8x7"),
        (lambda n, x: x / (1 + x.abs()), {}, "unsupported operation aten.div at 'div' .* products are matmul of two"),
        (lambda n, x: torch.log(x), {}, "unsupported operation aten.log at 'log' .* a value for every number"),
        (lambda n, x: x.mean((2, 3), keepdim=True).expand(-1, -1, 8, 7) + x, {}, "unsupported operation aten.expand"),
    ],
    ids=["one channel", "quotient", "log", "spread for a sum"],
)  # fmt: skip
def test_product_that_no_program_says_is_refused(flow, modules, message):
    with pytest.raises(UserError, match=message):
        lower(net_of(flow, **modules), IMAGES)
