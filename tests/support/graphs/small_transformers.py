"""Small transformers of ours with random weights, as torch has them."""

import torch
from addax.models.nets.transformers.tnt import TNT, TNTSize
from addax.models.nets.transformers.vit import VisionTransformer

SIZE = TNTSize(width=32, heads=2, inner_width=8, inner_heads=2, blocks=2, patch=4, window=3, stride=2)
KERNELS = {"mult": "mult", "adder": "mult,*.scores=adder"}


def vit(kernel, side=8):
    return VisionTransformer(
        kernel=KERNELS[kernel], shape=(1, side, side), classes=10, patch=2, width=32, heads=2, blocks=2, depth_rate=0.0
    )


def tnt(kernel):
    return TNT(size=SIZE, kernel=KERNELS[kernel], shape=(1, 8, 8), classes=10, depth_rate=0.0)


def lively(make, kernel):
    """Random weights of which attention is not the same everywhere, and tokens of a size."""
    torch.manual_seed(0)
    net = make(kernel).eval()
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if weight.ndim == 2:
                weight.normal_(0, 1.3 / weight.shape[1] ** 0.5)
            elif any(part in name for part in ("token", "pos", "queries")):
                weight.normal_(0, 0.5)
    return net
