"""IPT, the pre-trained image processing transformer (Chen et al. 2021, 2012.00364): one body for several tasks, each of
which has convolutions before and behind it, and a query."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from ....common.errors import UserError
from ...layers.contrast import PatchContrast
from ...layers.kernels import Kernels
from ..edsr import centring, upsampling
from .blocks import Layers, fresh_weights
from .patches import by_tiles, grid_of, image_of, patches_of, tile_overlap

__all__ = ["IPT", "IPT_TASKS"]

_NAME = "ipt"
_PATCH = 3

IPT_TASKS: Mapping[str, int] = MappingProxyType(
    {"x2": 2, "x3": 3, "x4": 4, "denoise-30": 1, "denoise-50": 1, "derain": 1}
)
"""What the published network does, and how many times larger each makes an image."""


class WideResidual(nn.Module):
    """``x + conv(relu(conv(x)))`` with 5x5 windows."""

    def __init__(self, layers: Layers, path: str, features: int):
        super().__init__()
        first, second = (layers.convolution(f"{path}.body.{k}", features, features, 5) for k in (0, 2))
        self.body = nn.Sequential(first, nn.ReLU(), second)

    def forward(self, x: Tensor) -> Tensor:
        """(B, features, H, W), the same shape."""
        added: Tensor = self.body(x)
        return x + added


class QueriedAttention(nn.Module):
    """Attention with four dense layers without bias, of queries, keys, values and of the result."""

    def __init__(self, layers: Layers, path: str, width: int, heads: int, *, identity: bool | None = None):
        super().__init__()
        self.queries, self.keys, self.values, self.proj = (
            layers.dense(f"{path}.{name}", width, width, bias=False) for name in ("queries", "keys", "values", "proj")
        )
        self.heads = layers.attention(f"{path}.heads", width, heads, identity=identity)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(B, Q, width), (B, K, width), (B, K, width) -> (B, Q, width)."""
        result: Tensor = self.proj(self.heads(self.queries(queries), self.keys(keys), self.values(values)))
        return result


class EncoderLayer(nn.Module):
    """Self-attention, then the perceptron, each behind a layer norm and beside a shortcut."""

    def __init__(self, layers: Layers, path: str, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = QueriedAttention(layers, f"{path}.attention", width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = _perceptron(layers, f"{path}.mlp", width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width), the same shape."""
        y = self.norm1(x)
        x = x + self.attention(y, y, y)
        added: Tensor = self.mlp(self.norm2(x))
        return x + added


class DecoderLayer(nn.Module):
    """Self-attention, attention to what the encoder made, and the perceptron. The query of the task is added to queries
    and keys of the first, and, as in the authors' code, to the queries alone of the second."""

    def __init__(self, layers: Layers, path: str, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = QueriedAttention(layers, f"{path}.attention", width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.crossing = QueriedAttention(layers, f"{path}.crossing", width, heads, identity=False)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = _perceptron(layers, f"{path}.mlp", width)

    def forward(self, x: Tensor, encoded: Tensor, query: Tensor) -> Tensor:
        """(B, N, width), the same, and (N, width) -> (B, N, width)."""
        y = self.norm1(x)
        queried = y + query
        x = x + self.attention(queried, queried, y)
        x = x + self.crossing(self.norm2(x) + query, encoded, encoded)
        added: Tensor = self.mlp(self.norm3(x))
        return x + added


class ProcessingBody(nn.Module):
    """Encoder and decoder on 3x3 patches of a map, (B, features, rows * 3, columns * 3) to the same shape."""

    def __init__(self, layers: Layers, features: int, rows: int, patches: int, *, heads: int, blocks: int, tasks: int):
        super().__init__()
        width = features * _PATCH**2
        self.rows, self.features = rows, features
        self.encoding = layers.dense("body.encoding", width, width)
        self.positions = nn.Parameter(torch.zeros(1, patches, width))
        self.queries = nn.Parameter(torch.zeros(tasks, patches, width))
        self.encoder = nn.Sequential(
            *(EncoderLayer(layers, f"body.encoder.{k}", width, heads) for k in range(blocks))
        )  # fmt: skip
        self.decoder = nn.ModuleList(DecoderLayer(layers, f"body.decoder.{k}", width, heads) for k in range(blocks))
        self.mlp = _perceptron(layers, "body.mlp", width)
        self.contrast = PatchContrast()

    def forward(self, x: Tensor, task: int) -> Tensor:
        """The map that the transformer makes for the task of that number."""
        patches = patches_of(x, _PATCH).flatten(2)
        tokens = self.encoding(patches) + patches
        encoded = self.encoder(tokens + self.positions)
        decoded = encoded
        for layer in self.decoder:
            decoded = layer(decoded, encoded, self.queries[task])
        tokens = self.contrast(self.mlp(decoded) + decoded)
        return image_of(tokens.unflatten(2, (self.features, _PATCH, _PATCH)), self.rows)


class IPT(nn.Module):
    """Makes an image larger or better; one of its tasks at a time.

    It works on squares of ``pixels``; larger images are taken apart into squares that overlap by ``overlap``, unless
    said by `tile_overlap`, and put together by `by_tiles`.

    Parameters
    ----------
    kernel : of all layers but the first and the last convolution of each task, scores of attention included; ``mult``
        or ``adder``, or a `Kernels`, or its text
    shape : of a small image, (channels, height, width); any of ``pixels`` or more
    tasks : some of `IPT_TASKS`, each with layers of its own
    task : the one to begin with, see `choose`; the first unless given
    features : of the map; a token has nine times as many numbers
    heads, blocks : of attention, and of the encoder, and of the decoder
    classes : None; an image has none

    Raises
    ------
    ValueError
        for unknown tasks, classes, pixels that are no multiple of 3, and kernels without bias.
    """

    def __init__(
        self, *, kernel: str | Kernels = "mult", shape: tuple[int, int, int] = (3, 48, 48),
        tasks: Sequence[str] = ("x2",), task: str | None = None, features: int = 64, heads: int = 12, blocks: int = 12,
        pixels: int = 48, overlap: int | None = None, classes: int | None = None,
    ):  # fmt: skip
        super().__init__()
        if classes is not None:
            raise ValueError("ipt makes an image, which has no classes")
        unknown = [name for name in tasks if name not in IPT_TASKS]
        if unknown or not tasks or len(set(tasks)) != len(tasks):
            raise ValueError(
                f"tasks of ipt are different ones of {', '.join(IPT_TASKS)}, not {', '.join(tasks) or '-'}"
            )
        overlap = tile_overlap(pixels) if overlap is None else overlap
        if not 0 <= overlap < pixels:
            raise ValueError(f"squares of {pixels} pixels cannot overlap by {overlap}")
        channels, layers = shape[0], Layers(_NAME, kernel)
        rows, columns = grid_of(_NAME, (channels, pixels, pixels), _PATCH)
        self.tasks, self.pixels, self.overlap = tuple(tasks), pixels, overlap
        self.sub_mean = centring(channels)
        self.head = nn.ModuleList(_head(layers, f"head.{k}", channels, features) for k in range(len(tasks)))
        self.body = ProcessingBody(
            layers, features, rows, rows * columns, heads=heads, blocks=blocks, tasks=len(tasks)
        )  # fmt: skip
        self.tail = nn.ModuleList(
            _tail(layers, f"tail.{k}", channels, features, IPT_TASKS[name]) for k, name in enumerate(tasks)
        )
        self.choose(task or self.tasks[0])
        fresh_weights(self, self.body.positions, self.body.queries)

    def choose(self, task: str) -> None:
        """Do ``task`` from now on; a ``ValueError`` where it has none of that name."""
        if task not in self.tasks:
            raise ValueError(f"this ipt has the tasks {', '.join(self.tasks)}, not {task}")
        self.task = self.tasks.index(task)

    @property
    def scale(self) -> int:
        """How many times larger an image becomes."""
        return IPT_TASKS[self.tasks[self.task]]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) images in 0..1 -> (B, C, scale * H, scale * W), not clipped; a `UserError` for less than
        ``pixels``, and in training for anything else."""
        if x.shape[2:] == (self.pixels, self.pixels):
            return self._square(x)
        if self.training:
            height, width = x.shape[2:]
            raise UserError(
                f"ipt learns from patches of {self.pixels}x{self.pixels} pixels, not of {height}x{width}; the recipe's "
                f"augment of kind patch must have the size {self.pixels}"
            )
        return by_tiles(self._square, x, tile=self.pixels, overlap=self.overlap, scale=self.scale)

    def _square(self, x: Tensor) -> Tensor:
        head = self.head[self.task](self.sub_mean(x))
        image: Tensor = self.tail[self.task](self.body(head, self.task) + head) + self.sub_mean.mean
        return image


def _perceptron(layers: Layers, path: str, width: int) -> nn.Sequential:
    """Four times wider, ReLU, and back."""
    return nn.Sequential(
        layers.dense(f"{path}.0", width, 4 * width), nn.ReLU(), layers.dense(f"{path}.2", 4 * width, width)
    )  # fmt: skip


def _head(layers: Layers, path: str, channels: int, features: int) -> nn.Sequential:
    return nn.Sequential(
        layers.convolution(f"{path}.0", channels, features, 3, edge=True),
        *(WideResidual(layers, f"{path}.{k}", features) for k in (1, 2)),
    )


def _tail(layers: Layers, path: str, channels: int, features: int, scale: int) -> nn.Sequential:
    larger = upsampling(lambda k, outputs: layers.convolution(f"{path}.0.{k}", features, outputs, 3), features, scale)
    return nn.Sequential(larger, layers.convolution(f"{path}.1", features, channels, 3, edge=True))
