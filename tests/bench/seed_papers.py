"""The ten papers of `tests.bench.seeds`: a small network of each, and its idea held against a definition by loops or by
the paper's own numbers. What is not there yet is asked for all the same, so that the refusal is a real one."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from addax.hdl.engine.plan import EnginePlan
from addax.models.compute.surrogates import Fourier
from addax.models.files.checkpoint import load_checkpoint
from addax.models.layers.adder import AdderConv2d
from addax.models.layers.attention import Attention
from addax.models.layers.ghost import GhostConv2d
from addax.models.nets import zoo
from addax.models.nets.edsr import EDSR
from addax.models.nets.efficientnet import EfficientNet, Scaling
from addax.models.nets.fadn import FADN, routed
from addax.models.nets.transformers.ipt import IPT
from addax.models.nets.transformers.patches import image_of, patches_of
from addax.models.nets.transformers.tnt import TNT, TNTSize
from addax.models.training.recipe import recipe_of
from torchnets import pictures, settle

__all__ = ["PAPERS", "Paper"]


@dataclass(frozen=True, kw_only=True)
class Paper:
    """One paper.

    Attributes
    ----------
    number, name : of arXiv, and in short
    check : holds its idea against a definition, by assertions; says what was compared
    network : makes the network of the other steps, in evaluation mode; None where the idea has to be there first
    shape : (C, H, W) of its images
    lanes : of the dataflow accelerator that is made of it
    engine : the engine that runs it instead
    """

    number: str
    name: str
    check: Callable[[], str]
    network: Callable[[], torch.nn.Module] | None = None
    shape: tuple[int, int, int] = (3, 8, 8)
    lanes: int = 32
    engine: EnginePlan | None = None


def _seeded(make: Callable[[], torch.nn.Module], shape: tuple[int, int, int]) -> torch.nn.Module:
    """A network with random weights, the same each time, whose batch norms have the statistics of pictures."""
    torch.manual_seed(0)
    return settle(make(), pictures(64, shape))


def _adder() -> str:
    torch.manual_seed(0)
    layer, x = AdderConv2d(3, 4, 3, padding=1), torch.randn(1, 3, 5, 6)
    found, weight, padded = layer(x).detach(), layer.weight.detach(), torch.nn.functional.pad(x, (1, 1, 1, 1))
    for out in range(4):
        for row in range(5):
            for column in range(6):
                window = padded[0, :, row : row + 3, column : column + 3]
                pairs = zip(window.flatten().tolist(), weight[out].flatten().tolist(), strict=True)
                wanted = -sum(abs(a - b) for a, b in pairs)
                assert math.isclose(float(found[0, out, row, column]), wanted, rel_tol=1e-4)
    return "120 sums of |x - w| by loops"


def _fourier() -> str:
    slope = Fourier(first=9, last=18, omega=1.0, mask=math.pi)
    for progress, last in ((0.0, 9), (1.0, 18)):
        for at in (0.03, 0.2, 0.9, -0.4):
            found = float(slope.slope(torch.tensor([at], dtype=torch.float64), progress))
            terms = sum(math.cos((2 * i + 1) * at) for i in range(last + 1))
            assert math.isclose(found, 4 / math.pi * terms, rel_tol=1e-6, abs_tol=1e-9), (found, terms)
    return "gradient of 10 and 19 sine terms, term by term"


def _detectors() -> str:
    recipe_of({"distil": {"kind": "defeat"}}, "recipe")
    raise AssertionError("a recipe knows DeFeat now; give this paper a check")


def _fadn() -> str:
    net, x = _seeded(lambda: FADN(shape=(3, 8, 8), blocks=2, features=8), (3, 8, 8)), torch.rand(3, 8, 8)
    with torch.no_grad():
        whole, each = net(x[None])[0], routed(net, x)
    assert torch.allclose(whole, each.image, atol=1e-5)
    assert all(sum(pixels) == 64 for pixels in each.pixels)
    return "every pixel by its branch alone, twice 64 pixels"


def _tnt() -> str:
    counts = zoo.counts_of("tnt-small")
    assert (counts.parameters, round(counts.macs / 1e9, 3)) == (23_768_584, 5.217)
    return f"23,768,584 parameters, 5.217 GMAC; {_attention()}"


def _attention() -> str:
    torch.manual_seed(0)
    layer, x = Attention("mult", 6, 2), torch.randn(3, 1, 4, 6)
    found = layer(*x)[0]
    for head in range(2):
        queries, keys, values = (part[0, :, 3 * head : 3 * head + 3] for part in x)
        for token in range(4):
            weights = [math.exp(float(queries[token] @ key) / math.sqrt(3)) for key in keys]
            for k in range(3):
                mean = sum(w * float(v[k]) for w, v in zip(weights, values, strict=True)) / sum(weights)
                assert math.isclose(float(found[token, 3 * head + k]), mean, rel_tol=1e-4, abs_tol=1e-6)
    return "attention by loops"


def _ghost() -> str:
    torch.manual_seed(0)
    layer, x = GhostConv2d("mult", 4, 6).eval(), torch.randn(1, 4, 5, 5)
    assert layer.shift is not None
    with torch.no_grad():
        layer.shift.choice.normal_()
        found = layer(x)
    (down, right), *_ = layer.shift.offsets.tolist()
    for ghost in range(3):
        for row in range(5):
            for column in range(5):
                inside = 0 <= row - down < 5 and 0 <= column - right < 5
                wanted = float(found[0, ghost, row - down, column - right]) if inside else 0.0
                assert float(found[0, 3 + ghost, row, column]) == wanted
    return f"three ghosts, each moved by ({down}, {right})"


def _survey() -> str:
    tokens, width, counts = 197, 192, zoo.counts_of("deit-tiny")
    inner = 12 * (12 * tokens * width**2 + 2 * tokens**2 * width)
    assert counts.macs == inner + 196 * width * 3 * 16 * 16 + 1000 * width
    return f"DeiT-Ti by the survey's formulas; {_attention()}"


def _ipt() -> str:
    counts, x = zoo.counts_of("ipt-x2"), torch.rand(2, 4, 12, 9)
    assert (round(counts.parameters / 1e6, 2), round(counts.macs / 1e9, 2)) == (115.46, 33.32)
    patches = patches_of(x, 3)
    for k in range(12):
        row, column = 3 * (k // 3), 3 * (k % 3)
        assert torch.equal(patches[:, k], x[:, :, row : row + 3, column : column + 3])
    assert torch.equal(image_of(patches, 4), x)
    return "115.46 M parameters, 33.32 GMAC; patches by loops"


def _tinynet() -> str:
    for name, millions in (("a", 6.19), ("b", 3.73), ("c", 2.46), ("d", 2.34), ("e", 2.04)):
        assert round(zoo.counts_of(f"tinynet-{name}").parameters / 1e6, 2) == millions
    return "parameters of A to E as published"


def _pruning() -> str:
    recipe_of({"prune": {"kind": "scop"}}, "recipe")
    raise AssertionError("a recipe knows pruning now; give this paper a check")


def _lenet5() -> torch.nn.Module:
    path = zoo.shipped_checkpoint("lenet5", "adder")
    assert path is not None
    return load_checkpoint(path)[0].eval()


_TNT = TNTSize(width=16, heads=2, inner_width=4, inner_heads=2, blocks=1, patch=4, window=3, stride=2)
_GATES = EnginePlan(
    device="ecp5-85k", pin=8, pout=8, memory_bits=64, kernels=("mult",), product=True, tables=8, depthwise=3,
    factor_bits=24,
)  # fmt: skip
PAPERS = (
    Paper(number="2101.10015", name="AdderNet", check=_adder, network=_lenet5, shape=(1, 16, 16), lanes=80),
    Paper(
        number="2103.00841", name="FDA-BNN", check=_fourier, shape=(1, 12, 12),
        network=lambda: _seeded(lambda: zoo.build("lenet5", kernel="xnor:fda", shape=(1, 12, 12)), (1, 12, 12)),
    ),
    Paper(number="2103.14475", name="DeFeat", check=_detectors),
    Paper(
        number="2103.08357", name="FADN", check=_fadn,
        network=lambda: _seeded(lambda: FADN(shape=(3, 8, 8), blocks=1, features=8), (3, 8, 8)),
    ),
    Paper(
        number="2103.00112", name="TNT", check=_tnt,
        network=lambda: _seeded(lambda: TNT(size=_TNT, shape=(3, 8, 8), classes=10, depth_rate=0.0), (3, 8, 8)),
    ),
    Paper(
        number="2101.08525", name="GhostSR", check=_ghost,
        network=lambda: _seeded(lambda: EDSR(shape=(3, 8, 8), blocks=1, features=8, share=0.5), (3, 8, 8)),
    ),
    Paper(
        number="2012.12556", name="survey", check=_survey, shape=(1, 8, 8),
        network=lambda: _seeded(lambda: zoo.build("vit-digits", kernel="mult", shape=(1, 8, 8)), (1, 8, 8)),
    ),
    Paper(
        number="2012.00364", name="IPT", check=_ipt, shape=(3, 6, 6),
        network=lambda: _seeded(
            lambda: IPT(shape=(3, 6, 6), features=4, heads=2, blocks=1, pixels=6, overlap=0), (3, 6, 6)
        ),
    ),
    Paper(
        number="2010.14819", name="TinyNet", check=_tinynet, shape=(3, 32, 32), engine=_GATES,
        network=lambda: _seeded(
            lambda: EfficientNet(
                scaling=Scaling(resolution=0.143, width=0.25, depth=0.3), kernel="mult", shape=(3, 32, 32), classes=10
            ),
            (3, 32, 32),
        ),
    ),
    Paper(number="2010.10732", name="SCOP", check=_pruning),
)  # fmt: skip
"""In the order of the list of seeds."""
