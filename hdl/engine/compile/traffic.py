"""How many words every layer of an image reads and writes, by what they are."""

from dataclasses import dataclass

from ..layout import TensorLayout
from ..records import WRITE, Unit, constants_record, descriptor_record
from .bands import parts_of
from .image import Compiled
from .reading.groups import row_walk
from .reading.layers import EngineLayer
from .transfers import writes_of
from .weights import has_own_tables, is_padded, table_entries

__all__ = ["LayerTraffic", "traffic_of"]


@dataclass(frozen=True, kw_only=True)
class LayerTraffic:
    """Words that a layer moves in a run.

    Attributes
    ----------
    features, weights, residuals : that it reads; weights with pads and constants, once for each band
    records : its descriptors and the write commands that it needs; read commands belong to no layer
    results : that it writes
    """

    features: int
    weights: int
    residuals: int
    records: int
    results: int

    @property
    def read(self) -> int:
        """All words that are read."""
        return self.features + self.weights + self.residuals + self.records


def traffic_of(image: Compiled) -> tuple[LayerTraffic, ...]:
    """The words of every layer of ``image``, in the order of its layers."""
    return tuple(_layer(image, layer) for layer in image.network.layers)


def _layer(image: Compiled, layer: EngineLayer) -> LayerTraffic:
    plan, bands, bits = image.plan, image.bands[layer.name], image.plan.word_bits
    source, result = image.layouts[layer.source], image.layouts[layer.name]
    pool, walk = layer.unit is not Unit.ARRAY, row_walk(layer.window, layer.together, source.row_words)
    blocks = layer.blocks(plan)
    constants = constants_record(plan).words(plan.bits)
    steps = 0 if pool else layer.window.kernel[0] * walk.parts
    weights = len(bands) * blocks * (layer.inputs(plan) * (is_padded(layer) + steps * plan.set_words) + constants)
    weights += table_entries(layer) * (len(bands) * blocks if has_own_tables(layer) else len(parts_of(bands)))
    made = -(-blocks // plan.made_parts)
    descriptors = len(parts_of(bands)) * descriptor_record(plan).words(bits)
    return LayerTraffic(
        features=source.blocks * source.row_words * sum(band.taken for band in bands) * max(len(layer.stacked), 1),
        weights=weights,
        residuals=_residuals(image, layer, blocks), records=descriptors + _write_words(layer, image, made),
        results=_stored(layer, result, made),
    )  # fmt: skip


def _residuals(image: Compiled, layer: EngineLayer, blocks: int) -> int:
    if layer.residual is None:
        return 0
    joined = image.layouts[layer.residual]
    return blocks * joined.block_words * (len(image.bands[layer.name]) if layer.hold else 1)


def _write_words(layer: EngineLayer, image: Compiled, blocks: int) -> int:
    return writes_of(layer, image.bands[layer.name], blocks) * WRITE.words(image.plan.word_bits)


def _stored(layer: EngineLayer, result: TensorLayout, blocks: int) -> int:
    """Words of the result as it is computed: where pixels are shuffled, some blocks are stored that hold nothing."""
    return blocks * result.block_words // layer.shuffle**2
