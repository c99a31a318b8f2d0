"""The vision transformer (Dosovitskiy et al. 2021) in the sizes of DeiT (Touvron et al. 2021), and a small one.

Parameters have timm's names.
"""

import torch
from torch import Tensor, nn

from ...layers.kernels import Kernels
from ...layers.normalize import Normalise
from ..blocks import large_image_statistics
from .blocks import Layers, TransformerBlock, fresh_weights, rates
from .patches import grid_of

__all__ = ["VisionTransformer"]

_NAME = "vit"
_EPSILON = 1e-6


class PatchEmbedding(nn.Module):
    """A convolution that makes one token of each patch."""

    def __init__(self, layers: Layers, channels: int, width: int, patch: int):
        super().__init__()
        self.proj = layers.convolution(
            "patch_embed.proj", channels, width, patch, stride=patch, padding=0, edge=True
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, patches, width), row by row."""
        features: Tensor = self.proj(x)
        return features.flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """Patches as tokens, a class token before them, learned positions, blocks, a classifier on the class token.

    Parameters
    ----------
    kernel : of dense layers and of the scores of attention; ``mult,*.scores=adder`` is adder attention. Or a `Kernels`.
        The first convolution and the classifier are ordinary unless it names them, the context of attention always is
    shape : of the images, (channels, height, width), multiples of ``patch``
    patch : rows and columns of one
    width : of a token
    heads, blocks : of attention, and of the network
    depth_rate : of stochastic depth, in the last block

    Raises
    ------
    ValueError
        for images that do not part into patches, heads that do not part a token, and kernels without bias.
    """

    def __init__(
        self, *, kernel: str | Kernels = "mult", shape: tuple[int, int, int] = (3, 224, 224), classes: int = 1000,
        patch: int = 16, width: int = 192, heads: int = 3, blocks: int = 12, depth_rate: float = 0.1,
    ):  # fmt: skip
        super().__init__()
        layers = Layers(_NAME, kernel)
        rows, columns = grid_of(_NAME, shape, patch)
        self.normalise = Normalise(*large_image_statistics(shape[0]))
        self.patch_embed = PatchEmbedding(layers, shape[0], width, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + rows * columns, width))
        self.blocks = nn.Sequential(
            *(
                TransformerBlock(layers, f"blocks.{k}", width, heads, epsilon=_EPSILON, rate=rate)
                for k, rate in enumerate(rates(depth_rate, blocks))
            )
        )
        self.norm = nn.LayerNorm(width, eps=_EPSILON)
        self.head = layers.dense("head", width, classes, edge=True)
        fresh_weights(self, self.cls_token, self.pos_embed)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) images in 0..1 -> (B, classes) scores."""
        patches = self.patch_embed(self.normalise(x))
        tokens = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], 1) + self.pos_embed
        scores: Tensor = self.head(self.norm(self.blocks(tokens))[:, 0])
        return scores
