"""The image of a network: what the second executor makes of it is what the golden model says, for every tensor."""

import numpy as np
import pytest
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.compile.traffic import traffic_of
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.records import Stream
from addax.quant import golden
from addax.quant.formats import signed, unsigned
from addax.quant.program import Concat, MaxPool, PixelShuffle, Product, Slice, Upsample
from engine_executor import assert_golden, executed
from engine_gates import joined_gates
from engine_networks import (
    bottlenecks,
    engine_program,
    gated,
    grouped_program,
    moving,
    small_plan,
    super_resolution,
)  # fmt: skip
from network_builder import Builder


def images_of(program, count, seed):
    fmt, rng = program.input.format, np.random.default_rng(seed)
    return rng.integers(fmt.lo, fmt.hi, (count, *program.input.shape), endpoint=True)


@pytest.mark.parametrize("seed", range(24))
def test_every_stored_tensor_is_that_of_the_golden_model(seed):
    """Records, layouts, bands, order of weights and of transfers agree, or some word differs."""
    bits = (8, 16)[seed % 2]
    plan = small_plan(bits=bits, pin=(8, 4)[seed % 2], pout=(8, 4)[seed % 2])
    program = engine_program(seed, bits=bits)
    image = compiled(program, plan)
    (pixels,) = images_of(program, 1, seed)

    words = executed(image, pixels)

    assert_golden(image, pixels, words)


@pytest.mark.parametrize("seed", range(12))
def test_groups_read_channels_of_their_own(seed):
    """Depthwise windows whose columns are taken one, two, three or four at a time, in parts, strides, shared pads and
    dilations; groups of whole blocks, and of a few channels, whose sets are filled with weights of 0."""
    bits, lanes = (8, 16)[seed % 2], (8, 4)[seed % 2]
    plan = small_plan(bits=bits, pin=lanes, pout=lanes, depthwise=(3, 1, 4, 2)[seed % 4], pixels=64, feature_bytes=4096)
    program = grouped_program(seed, bits=bits, lanes=lanes)
    image = compiled(program, plan)
    (pixels,) = images_of(program, 1, seed)

    words = executed(image, pixels)

    assert any(layer.together for layer in image.network.layers)
    assert any(layer.groups > 1 and not layer.together for layer in image.network.layers)
    assert_golden(image, pixels, words)
    predicted(image)


@pytest.mark.parametrize("seed", range(16))
def test_products_and_tables_are_those_of_the_golden_model(seed):
    """Factors of pixels and of channels, tables that all channels share or not, longer than the queue of weights, in
    several bands; and what is moved is what is counted."""
    bits, lanes = (8, 16)[seed % 2], (8, 4)[seed % 2]
    plan = small_plan(bits=bits, pin=lanes, pout=lanes, product=True, tables=10, kernels=("adder", "mult"))
    program = gated(seed, bits=bits, table_bits=10 if seed % 3 == 0 else 8)
    image = compiled(program, plan)
    (pixels,) = images_of(program, 1, seed)

    words = executed(image, pixels)

    assert_golden(image, pixels, words)
    predicted(image)
    named = (Stream.WEIGHTS, Stream.FEATURES, Stream.RESIDUALS)
    read = sum(command["words"] for command in image.reads if command["stream"] in named)
    assert read == sum(own.features + own.weights + own.residuals for own in traffic_of(image))


@pytest.mark.parametrize("seed", range(4))
def test_a_residual_joins_products_that_are_stored(seed):
    """Of two maps, and of a map and a gate; the products themselves are stored once, whoever reads them."""
    plan = small_plan(bits=8, pin=8, pout=8, product=True, feature_bytes=4096, factor_bits=24)
    program = joined_gates(seed)
    image = compiled(program, plan)
    (pixels,) = images_of(program, 1, seed)

    assert_golden(image, pixels, executed(image, pixels))

    names = [op.name for op in program.ops if isinstance(op, Product)]
    assert [layer.name for layer in image.network.layers if layer.product] == names


@pytest.mark.parametrize("seed", range(4))
def test_tables_stand_behind_every_kind_of_layer(seed):
    """Pools, a residual, enlarged and shuffled maps, joined tensors, the input, another table; what something else
    reads, too, and what is shuffled behind its table. None is wrong where a block has channels too many, which an adder
    sums up."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (3, 6, 6))
    b.varied = lambda op: op

    def layer(outputs, bits=8, join=None):
        b.convolution("adder", outputs, 3, 1, 1, 8)
        b.rescale(signed(bits), residual=join)
        return b.last

    def looked(bits=7):
        b.table(signed(bits) if rng.random() < 0.7 else unsigned(bits))
        return b.last

    looked()
    layer(6)
    first = looked()
    layer(6, join=first)
    looked()
    b.emit(MaxPool(name="largest", source=b.last, size=2, stride=1))
    looked(8)
    wide = layer(5, 10)
    looked()
    b.last = wide
    looked(6)
    looked()
    layer(4 * int(rng.integers(1, 4)))
    looked()
    b.enlarge(PixelShuffle, 2)
    looked()
    layer(3)
    b.enlarge(Upsample, 2)
    looked()
    left = layer(4)
    layer(3)
    b.emit(Concat(name="both", source=left, others=(b.last,)))
    looked()
    layer(2)
    program = b.raw()
    image = compiled(program, small_plan(tables=10, depthwise=2, pixels=64, feature_bytes=8192))
    (pixels,) = images_of(program, 1, seed)

    words = executed(image, pixels)

    predicted(image)
    assert_golden(image, pixels, words)


@pytest.mark.parametrize("factor, features", [(2, 4), (2, 6), (3, 5)])
def test_pixels_are_shuffled_on_their_way_to_memory(factor, features):
    """Blocks that hold fewer channels than lanes, bands whose rows wait for several blocks of the layer before."""
    program = super_resolution(factor + features, factor=factor, features=features)
    image = compiled(program, small_plan())
    (pixels,) = images_of(program, 1, factor)

    words = executed(image, pixels)

    assert any(write["stride"] == factor for write in image.writes)
    assert any(len(bands) > 1 for bands in image.bands.values())
    assert_golden(image, pixels, words)


@pytest.mark.parametrize("seed", range(4))
def test_blocks_of_several_tensors_are_read_as_one(seed):
    """Joined and cut, then read by windows, as a residual and by a pool; rows come from bands of several layers."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (4, 7, int(rng.integers(5, 8))))
    b.varied = lambda op: op

    def layer(source, outputs, join=None):
        b.last = source
        b.convolution(str(rng.choice(["adder", "mult"])), outputs, 3, 1, 1, 8)
        b.rescale(unsigned(8), residual=join)
        return b.last

    one, two, three = layer("pixels", 8), layer("pixels", 4), layer("pixels", 5)
    both = b.emit(Concat(name="both", source=one, others=(two,)))
    whole = b.emit(Concat(name="whole", source=both, others=(three,)))
    part = b.emit(Slice(name="part", source=whole, axis="C", start=4, stop=12))
    joined = layer(part, 17, join=whole)
    b.last = layer(whole, 8, join=part)
    b.emit(MaxPool(name="pool", source=part, size=2, stride=1))
    b.emit(Concat(name="end", source=joined, others=()))
    layer("end", 3)
    program = b.raw()
    image = compiled(program, small_plan(bits=16))
    (pixels,) = images_of(program, 1, seed)

    words = executed(image, pixels)

    predicted(image)
    assert_golden(image, pixels, words)


@pytest.mark.parametrize("seed", range(6))
def test_pixels_are_moved_by_lanes(seed):
    """Channels that move by offsets of their own, with pad; maps that are enlarged, of blocks that are not full."""
    program = moving(seed)
    kernels = ("shift", "adder", "mult") if seed % 2 else ("adder", "mult")
    image = compiled(program, small_plan(depthwise=1 + seed % 3, kernels=kernels))
    (pixels,) = images_of(program, 1, seed)

    words = executed(image, pixels)

    predicted(image)
    assert_golden(image, pixels, words)


@pytest.mark.parametrize("bits", [8, 16])
def test_linear_bottlenecks_run(bits):
    """As MobileNetV2 is lowered: sums that two requantises read, one of them later; a sum of more bits than the lanes
    take, which is stored, joins again and is brought back to their width."""
    program = bottlenecks(bits)
    image = compiled(program, small_plan(bits=bits, pin=64 // bits, pout=64 // bits, depthwise=2))
    (pixels,) = images_of(program, 1, bits)

    words = executed(image, pixels)

    assert sum(layer.macs for layer in image.network.layers) == program.macs()
    predicted(image)
    assert_golden(image, pixels, words)


@pytest.mark.parametrize("seed", range(300, 308))
def test_areas_are_used_again_when_nobody_reads_them(seed):
    """What is not overwritten is right, the result above all; the memory is never larger, for some networks smaller."""
    program = engine_program(seed, bits=8) if seed % 2 else super_resolution(seed)
    plan = small_plan()
    plain, image = compiled(program, plan), compiled(program, plan, reuse=True)
    (pixels,) = images_of(program, 1, seed)

    words = executed(image, pixels)

    expected = golden.run(program, pixels[None], trace=True).tensors
    assert image.network.output in image.intact and plain.intact == plain.network.tensors[1:]
    for name in image.intact:
        assert np.array_equal(image.tensor(words, name), expected[name][0]), name
    assert len(image.words) < len(plain.words) or seed % 2
    predicted(image)
