"""Transformers of full size in RTL: 16 x 16 engines, one image each, every stored tensor compared.

``python -m tests.bench.full_transformers CSV [NAME..]`` can be killed and given again: each row that is done is a dated
line of ``CSV`` and stays. Weights are random, of a fixed seed, and of a size at which attention is not the same
everywhere; no feature has more than 8 bits. Simulated cycles must be those that were predicted.

Of IPT it is the body, encoder and decoder on the 256 tokens of a square of 48 x 48 pixels: the engine has no windows of
stored tensors, which make tokens of the head's map.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from addax.hdl.engine.plan import EnginePlan
from addax.models.nets import zoo
from addax.quant.fold.scheme import Scheme
from addax.quant.lower.lowering import lower
from small_transformers import lively
from torch import nn

from .dated import append, done
from .through_engine import through_engine
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


def _built(name, kernel):
    net = zoo.build(name.partition(",")[0], kernel=kernel)
    return TokensOfBody(net.body) if name == IPT_BODY else net


def program_of(name):
    """The network ``name`` with random weights, as integers, and an image for it."""
    net, shape = lively(lambda kernel: _built(name, kernel), NETWORKS[name]), (3, SIDE, SIDE)
    if name == IPT_BODY:
        shape = (net.body.positions.shape[2], 1, net.body.positions.shape[1])
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    return lower(net, images, scheme=Scheme(most_bits=8)), images[0].astype(np.int64)


def main(table, names):
    """Measure what ``table`` does not have yet; returns how many of its rows are wrong."""
    for name in names or NETWORKS:
        if any(row["network"] == name for row in done(table)):
            continue
        program, pixels = program_of(name)
        plan = LARGE if name == IPT_BODY else PLAN
        row = {"network": name, "date": now(), **through_engine(program, plan, pixels)}
        append(table, FIELDS, row)
        print(row, flush=True)
    return sum(row["mismatches"] != "0" or row["cycles"] != row["cycles_predicted"] for row in done(table))


if __name__ == "__main__":
    sys.exit(3 if main(Path(sys.argv[1]), sys.argv[2:]) else 0)
