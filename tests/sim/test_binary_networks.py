"""Binary networks of FDA-BNN from torch to RTL: PReLU, batch norm, sliced and padded shortcuts, as the paper has them.
Weights are random and fixed; images are smaller than CIFAR's, so that whole simulations fit into a test."""

import numpy as np
import pytest
import torch
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.folder.generate import generate
from addax.hdl.folder.vectors import sample_vectors
from addax.models.nets import zoo
from addax.quant.lower.lowering import lower
from addax.quant.program import Convolution
from addax.sim.cosim import simulate
from marks import GUARD
from torchnets import pictures, settle

pytestmark = [*GUARD]


@pytest.mark.parametrize(
    ("name", "side", "options", "lanes"),
    [("vgg-small", 16, {"width": 8}, 200), ("resnet20", 8, {}, 400)],
)
def test_fda_networks_are_bit_exact(tmp_path_factory, name, side, options, lanes):
    """20 images, no word differs, no cycle is lost: every inner product is one of single bits, but first and last."""
    torch.manual_seed(0)
    shape = (3, side, side)
    module = zoo.build(name, kernel="xnor:fda", shape=shape, **options)
    program = lower(settle(module, pictures(64, shape), signs=(1.0, 1.0, -1.0)), pictures(64, shape))
    kernels = [op.kernel for op in program.ops if isinstance(op, Convolution)]
    assert kernels == ["mult", *["xnor"] * (len(kernels) - 2), "mult"]
    plan = fold(program, device="xczu7ev", clock_mhz=100.0, lanes=lanes)
    build = generate(program, plan, tmp_path_factory.mktemp("fda"), vectors=sample_vectors(program, 1))

    outcome = simulate(build, pictures(20, shape, seed=1))

    assert (outcome.images, outcome.mismatches, outcome.class_mismatches) == (20, 0, 0)
    assert outcome.cycles_per_image == build.schedule.interval
    assert len(np.unique(outcome.classes)) > 1
