"""Transformers of full size in RTL: 16 x 16 engines, one image each, every stored tensor compared.

``python -m tests.bench.full_transformers CSV [NAME..]`` can be killed and given again: each row that is done is a dated
line of ``CSV`` and stays. Weights are random, of a fixed seed, and of a size at which attention is not the same
everywhere; no feature has more than 8 bits. Simulated cycles must be those that were predicted.

Of IPT it is the body, encoder and decoder on the 256 tokens of a square of 48 x 48 pixels: the engine has no windows of
stored tensors, which make tokens of the head's map.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.plan import EnginePlan
from addax.models.nets import zoo
from addax.quant.fold.scheme import Scheme
from addax.quant.lower.lowering import lower
from addax.sim.engine import run_engine
from addax.sim.engine_trace import compare_tensors
from engine_runs import simulator_of
from torch import nn

from .dated import append, done
from .trained import now

PLAN = EnginePlan(
    device="xczu7ev", clock_mhz=200.0, norms=8, softmax=True, tables=8, matmul=True, divide=True, dividers=4,
    depthwise=3, means=True, feature_bytes=512 * 1024, weight_bytes=64 * 1024, factor_bits=18,
)  # fmt: skip
"""One engine for all but IPT, and for networks of convolutions as well."""
LARGE = replace(PLAN, feature_bytes=1024 * 1024)
"""That of IPT, whose 256 tokens of 2,304 numbers stand in the ring at once."""
SIDE = 224
IPT_BODY = "ipt-x2, body"
NETWORKS = {
    "deit-tiny": "mult", "deit-tiny, adder attention": "mult,*.scores=adder", "tnt-small": "mult", IPT_BODY: "mult",
}  # fmt: skip
"""With their kernels, smallest first."""
FIELDS = (
    "date", "network", "cycles_predicted", "cycles", "lanes_at_work", "values", "mismatches", "compile_seconds",
    "seconds",
)  # fmt: skip


class TokensOfBody(nn.Module):
    """The body of an IPT from its tokens, (B, width, 1, tokens), to those that it makes."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        patches = x.flatten(2).transpose(1, 2)
        tokens = self.body.encoding(patches) + patches
        decoded = encoded = self.body.encoder(tokens + self.body.positions)
        for layer in self.body.decoder:
            decoded = layer(decoded, encoded, self.body.queries[0])
        return (self.body.mlp(decoded) + decoded).transpose(1, 2).unflatten(2, x.shape[2:])


def program_of(name):
    """The network ``name`` with random weights, as integers, and an image for it."""
    torch.manual_seed(0)
    net, shape = zoo.build(name.partition(",")[0], kernel=NETWORKS[name]).eval(), (3, SIDE, SIDE)
    if name == IPT_BODY:
        net, shape = TokensOfBody(net.body).eval(), (net.body.positions.shape[2], 1, net.body.positions.shape[1])
    with torch.no_grad():
        for path, weight in net.named_parameters():
            if weight.ndim == 2:
                weight.normal_(0, 1.3 / weight.shape[1] ** 0.5)
            elif any(part in path for part in ("token", "pos", "queries")):
                weight.normal_(0, 0.5)
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    return lower(net, images, scheme=Scheme(most_bits=8)), images[0].astype(np.int64)


def measured(name):
    """Cycles of an image and what differs from the golden model."""
    program, pixels = program_of(name)
    plan, begin = LARGE if name == IPT_BODY else PLAN, time.perf_counter()
    image = compiled(program, plan)
    compiling = time.perf_counter() - begin
    run = run_engine(simulator_of(plan), image, pixels)
    stages = compare_tensors(image, pixels[None], [run.words])
    return {
        "cycles_predicted": predicted(image).total, "cycles": run.cycles,
        "lanes_at_work": round(program.macs() / PLAN.lanes / run.cycles, 4),
        "values": sum(stage.values for stage in stages), "mismatches": sum(stage.mismatches for stage in stages),
        "compile_seconds": round(compiling), "seconds": round(run.seconds),
    }  # fmt: skip


def main(table, names):
    """Measure what ``table`` does not have yet; returns how many of its rows are wrong."""
    for name in names or NETWORKS:
        if any(row["network"] == name for row in done(table)):
            continue
        row = {"network": name, "date": now(), **measured(name)}
        append(table, FIELDS, row)
        print(row, flush=True)
    return sum(row["mismatches"] != "0" or row["cycles"] != row["cycles_predicted"] for row in done(table))


if __name__ == "__main__":
    sys.exit(3 if main(Path(sys.argv[1]), sys.argv[2:]) else 0)
