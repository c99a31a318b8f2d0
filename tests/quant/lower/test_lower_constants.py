"""Constants beside features: maps of ones, buffers, positions, zero channels of a shortcut, through every way out."""

import subprocess

import numpy as np
import onnxruntime
import pytest
import torch
from addax.common.errors import UserError
from addax.hdl.dataflow.stages import stages_of
from addax.models.training.loop import to_float
from addax.quant import golden
from addax.quant.export import export
from addax.quant.files.archive import program_bytes
from addax.quant.fold.scheme import Scheme
from addax.quant.lower.lowering import lower
from addax.quant.lower.trace import compare
from addax.quant.onnx.read import import_onnx
from addax.quant.program import Concat, Constant, Slice
from torch import nn
from torch.nn import functional as F
from torchnets import Net, pictures, settle

SHAPE = (2, 12, 10)
IMAGES = pictures(40, SHAPE)
BOUND = {8: 0.01, 16: 1e-4}
"""Largest difference of a score, as a share of the largest score."""


def positions():
    """Rows and columns in -1..1, (1, 2, 12, 10)."""
    return torch.stack(torch.meshgrid(torch.linspace(-1, 1, 12), torch.linspace(-1, 1, 10), indexing="ij"))[None]


def token():
    return nn.Parameter(torch.tensor([0.3, -0.2, 2.0]).view(1, 3, 1, 1))


# How a constant comes beside a map x, with its name in the Program.
WAYS = {
    "ones": (lambda n, x: torch.cat([x, torch.ones(x.size(0), 1, 12, 10)], 1), {}, ["ones"]),
    "ones-like": (lambda n, x: torch.cat([torch.ones_like(x[:, :1]) * 0.3, x], -3), {}, ["mul"]),
    "zeros-like": (lambda n, x: torch.cat([x, torch.zeros_like(x), x], 1), {}, ["zeros_like"]),
    "full": (lambda n, x: torch.cat([x, x.new_full((x.shape[0], 2, 12, 10), -0.7)], 1), {}, ["new_full"]),
    "expand": (lambda n, x: torch.cat([x, n.token.expand(x.shape[0], -1, 12, 10)], 1), {"token": token()}, ["token"]),
    "repeat": (lambda n, x: torch.cat([x, n.token.repeat(x.shape[0], 1, 12, 10)], 1), {"token": token()}, ["token"]),
    "positions": (lambda n, x: torch.cat([x, n.at.expand(x.shape[0], -1, -1, -1)], 1), {
        "at": nn.Buffer(positions())}, ["at"]),
    "computed": (lambda n, x: torch.cat([x, (n.at * 2 + 1).expand(x.shape[0], -1, -1, -1)[:, :1]], 1), {
        "at": nn.Buffer(positions())}, ["at"]),
    "zero-channels": (lambda n, x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2)), {}, ["pad", "pad_2"]),
    "other-channels": (lambda n, x: F.pad(x, (0, 0, 0, 0, 0, 2), value=-0.5), {}, ["pad"]),
}  # fmt: skip


def made(way, *, early=False):
    """A network with a constant beside its features, or beside its pixels where ``early``."""
    torch.manual_seed(1)
    flow, parts, _ = WAYS[way]

    def run(n, x):
        joined = flow(n, x) if early else flow(n, F.relu(n.first(x)))
        return n.fc(F.relu(n.conv(joined)).mean((2, 3)))

    return settle(
        Net(run, first=nn.Conv2d(2, 4, 3, padding=1), conv=nn.LazyConv2d(5, 3), fc=nn.Linear(5, 7), **parts), IMAGES
    )  # fmt: skip


@pytest.mark.parametrize("early", [False, True], ids=["features", "pixels"])
@pytest.mark.parametrize("bits", BOUND)
@pytest.mark.parametrize("way", WAYS)
def test_constant_beside_a_map_is_what_torch_computes(way, bits, early):
    """Under a name that the user knows, on a grid that holds it: pixels have 8 bits, but not where 16 are wanted."""
    net = made(way, early=early)
    program = lower(net, IMAGES, scheme=Scheme(bits=bits, ranges="max"))

    with torch.no_grad():
        wanted = net(to_float(IMAGES)).numpy()
    found = golden.run(program, IMAGES).scores * program.steps[program.output]

    assert np.abs(found - wanted).max() < BOUND[bits] * np.abs(wanted).max()
    assert len(np.unique(found)) > 50
    assert [op.name for op in program.ops if isinstance(op, Constant)] == WAYS[way][2]
    assert min(row.error for row in compare(program, net, IMAGES).rows) < 0.02


def test_ones_leave_pixels_as_they_are():
    """Their grid has 1.0 at its end, so nothing requantises them."""
    program = lower(made("ones", early=True), IMAGES)

    join = next(op for op in program.ops if isinstance(op, Concat))
    assert program.sources(join) == ("pixels", "ones")
    assert (program.by_name["ones"].value == 255).all()


def test_nothing_is_made_of_what_only_gives_its_shape():
    """A slice of a map that `ones_like` reads would be an operation that hardware has no reader for."""
    program = lower(made("ones-like"), IMAGES)

    assert not [op for op in program.ops if isinstance(op, Slice)]
    stages_of(program)


def test_steps_of_powers_of_two_stay_so():
    program = lower(made("expand"), IMAGES, scheme=Scheme(pow2_steps=True))

    assert np.log2(program.steps["cat"]) % 1 == 0
    assert program.steps["cat"] * program.format("cat").hi >= 2.0


def test_every_export_has_the_constant(tmp_path):
    """A map that differs from pixel to pixel, too."""
    program = lower(made("positions"), IMAGES)
    wanted = golden.run(program, IMAGES).scores
    qonnx, qcdq, c = (export(program, tmp_path / fmt, fmt=fmt) for fmt in ("qonnx", "qcdq", "c"))

    for folder in (qonnx, qcdq):
        session = onnxruntime.InferenceSession(str(folder / "network.onnx"), providers=["CPUExecutionProvider"])
        assert np.array_equal(session.run(["scores"], {"pixels": IMAGES.astype(np.float32)})[0], wanted)
    assert program_bytes(import_onnx(qonnx / "network.onnx")) == program_bytes(program)
    subprocess.run(["gcc", "-std=c99", "-O1", "network.c", "-o", "network"], cwd=c, check=True)
    done = subprocess.run([c / "network"], input=IMAGES.tobytes(), capture_output=True, check=True)
    assert np.array_equal([list(map(int, line.split()[:-1])) for line in done.stdout.decode().splitlines()], wanted)


def test_only_hardware_wants_the_same_for_all_pixels():
    stages_of(lower(made("expand"), IMAGES))
    with pytest.raises(UserError, match="at differs from pixel to pixel; the dataflow family joins constants that are"):
        stages_of(lower(made("positions"), IMAGES))


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (
            lambda n, x: n.c(F.pad(x, (0, 0, 0, 0, -1, 2))),
            r"padding at 'pad' .* not 'constant' of \(0, 0, 0, 0, -1, 2\)",
        ),
        (lambda n, x: n.c(torch.cat([x, torch.rand_like(x)], 1)), "unsupported operation aten.rand_like"),
    ],
    ids=["crop", "noise"],
)
def test_what_is_no_constant_is_refused(flow, message):
    net = Net(flow, c=nn.LazyConv2d(3, 3))
    with torch.no_grad():
        net(torch.zeros(1, *SHAPE))

    with pytest.raises(UserError, match=message):
        lower(net, IMAGES)
