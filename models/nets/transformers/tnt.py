"""TNT, the transformer in transformer (Han et al. 2021, 2103.00112): patches of words.

Parameters have timm's names, of the order of layers that the authors have: patches are taken apart first, and the
convolution that makes words runs inside each of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...layers.attention import StochasticDepth
from ...layers.kernels import Kernels
from ...layers.normalize import Normalise
from .blocks import Layers, TokenMlp, fresh_weights, rates
from .patches import grid_of, patches_of

__all__ = ["TNT", "TNT_SIZES", "TNTSize"]

_NAME = "tnt"


@dataclass(frozen=True, kw_only=True)
class TNTSize:
    """How large a `TNT` is.

    Attributes
    ----------
    width, heads : of the tokens that are patches
    inner_width, inner_heads : of the words inside a patch
    blocks : of the network
    patch : rows and columns of one, in pixels
    window, stride : of the convolution that makes words of a patch, padded by half of its window
    """

    width: int
    heads: int
    inner_width: int
    inner_heads: int
    blocks: int = 12
    patch: int = 16
    window: int = 7
    stride: int = 4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")

    @property
    def side(self) -> int:
        """Rows, and columns, of words in a patch."""
        return (self.patch + 2 * (self.window // 2) - self.window) // self.stride + 1


TNT_SIZES = {
    "tiny": TNTSize(width=192, heads=3, inner_width=12, inner_heads=2),
    "small": TNTSize(width=384, heads=6, inner_width=24, inner_heads=4),
    "base": TNTSize(width=640, heads=10, inner_width=40, inner_heads=4),
}
"""The published networks."""


class SplitAttention(nn.Module):
    """Self-attention whose queries and keys come from one dense layer, values from another, both without bias."""

    def __init__(self, layers: Layers, path: str, width: int, heads: int):
        super().__init__()
        self.qk = layers.dense(f"{path}.qk", width, 2 * width, bias=False)
        self.v = layers.dense(f"{path}.v", width, width, bias=False)
        self.heads = layers.attention(f"{path}.heads", width, heads)
        self.proj = layers.dense(f"{path}.proj", width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width), the same shape."""
        queries, keys = self.qk(x).chunk(2, -1)
        result: Tensor = self.proj(self.heads(queries, keys, self.v(x)))
        return result


class WordEmbedding(nn.Module):
    """A convolution inside each patch, which makes its words, and their positions, the same in all patches."""

    def __init__(self, layers: Layers, channels: int, size: TNTSize):
        super().__init__()
        self.patch = size.patch
        self.proj = layers.convolution(
            "pixel_embed.proj", channels, size.inner_width, size.window, stride=size.stride, edge=True
        )

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """(B, C, H, W) and (1, inner width, side, side) -> (B * patches, words, inner width)."""
        patches = patches_of(x, self.patch).flatten(0, 1)
        words: Tensor = self.proj(patches) + positions
        return words.flatten(2).transpose(1, 2)


class TNTBlock(nn.Module):
    """A block of words inside each patch, what they add to its token, and a block of tokens; the class token has no
    words."""

    def __init__(self, layers: Layers, path: str, size: TNTSize, rate: float):
        super().__init__()
        inner, width, words = size.inner_width, size.width, size.side**2
        self.norm_in = nn.LayerNorm(inner)
        self.attn_in = SplitAttention(layers, f"{path}.attn_in", inner, size.inner_heads)
        self.norm_mlp_in = nn.LayerNorm(inner)
        self.mlp_in = TokenMlp(layers, f"{path}.mlp_in", inner, 4 * inner)
        self.norm1_proj = nn.LayerNorm(words * inner)
        self.proj = layers.dense(f"{path}.proj", words * inner, width, bias=False)
        self.norm2_proj = nn.LayerNorm(width)
        self.norm_out = nn.LayerNorm(width)
        self.attn_out = SplitAttention(layers, f"{path}.attn_out", width, size.heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = TokenMlp(layers, f"{path}.mlp", width, 4 * width)
        self.drop_path = StochasticDepth(rate)

    def forward(self, words: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B * patches, words, inner width) and (B, 1 + patches, width), the same shapes."""
        words = words + self.drop_path(self.attn_in(self.norm_in(words)))
        words = words + self.drop_path(self.mlp_in(self.norm_mlp_in(words)))
        patches = words.flatten(1).unflatten(0, (-1, tokens.shape[1] - 1))
        added = self.norm2_proj(self.proj(self.norm1_proj(patches)))
        tokens = torch.cat([tokens[:, :1], tokens[:, 1:] + added], 1)
        tokens = tokens + self.drop_path(self.attn_out(self.norm_out(tokens)))
        tokens = tokens + self.drop_path(self.mlp(self.norm_mlp(tokens)))
        return words, tokens


class TNT(nn.Module):
    """A transformer of patches with a transformer of words in each of them.

    Parameters
    ----------
    size : of the network
    kernel : of dense layers and of the scores of attention; ``mult,*.scores=adder`` is adder attention. Or a `Kernels`.
        The first convolution and the classifier are ordinary unless it names them, the context of attention always is
    shape : of the images, (channels, height, width), multiples of a patch
    depth_rate : of stochastic depth, in the last block

    Raises
    ------
    ValueError
        for images that do not part into patches, heads that do not part a token or word, and kernels without bias.
    """

    def __init__(
        self, *, size: TNTSize = TNT_SIZES["tiny"], kernel: str | Kernels = "mult",
        shape: tuple[int, int, int] = (3, 224, 224), classes: int = 1000, depth_rate: float = 0.1,
    ):  # fmt: skip
        super().__init__()
        layers = Layers(_NAME, kernel)
        rows, columns = grid_of(_NAME, shape, size.patch)
        words, width = size.side**2 * size.inner_width, size.width
        self.patches = rows * columns
        self.normalise = Normalise((0.5,) * shape[0], (0.5,) * shape[0])
        self.pixel_embed = WordEmbedding(layers, shape[0], size)
        self.norm1_proj = nn.LayerNorm(words)
        self.proj = layers.dense("proj", words, width)
        self.norm2_proj = nn.LayerNorm(width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.patch_pos = nn.Parameter(torch.zeros(1, 1 + self.patches, width))
        self.pixel_pos = nn.Parameter(torch.zeros(1, size.inner_width, size.side, size.side))
        self.blocks = nn.ModuleList(
            TNTBlock(layers, f"blocks.{k}", size, rate) for k, rate in enumerate(rates(depth_rate, size.blocks))
        )
        self.norm = nn.LayerNorm(width)
        self.head = layers.dense("head", width, classes, edge=True)
        fresh_weights(self, self.cls_token, self.patch_pos, self.pixel_pos)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) images in 0..1 -> (B, classes) scores."""
        words = self.pixel_embed(self.normalise(x), self.pixel_pos)
        patches = words.flatten(1).unflatten(0, (-1, self.patches))
        patches = self.norm2_proj(self.proj(self.norm1_proj(patches)))
        tokens = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], 1) + self.patch_pos
        for block in self.blocks:
            words, tokens = block(words, tokens)
        scores: Tensor = self.head(self.norm(tokens)[:, 0])
        return scores
