"""Lowering of LeNet-5: as good as in float at 8 and 16 bits, possible at every width."""

import math

import numpy as np
import pytest
from addax.models.nets import zoo
from addax.models.training.loop import accuracy
from addax.quant.formats import signed, unsigned
from addax.quant.lower.lowering import lower
from addax.quant.program import Requantise
from addax.quant.quantize import evaluate
from lowered import KERNELS, WITH_SHIFT, convolutions

pytestmark = pytest.mark.usefixtures("seed")
SHIPPED = (*WITH_SHIFT, "xnor")


@pytest.fixture(scope="module")
def float_accuracy(digits):
    from addax.models.files.checkpoint import load_checkpoint

    return {
        kernel: accuracy(load_checkpoint(zoo.shipped_checkpoint("lenet5", kernel))[0], digits) for kernel in SHIPPED
    }


@pytest.mark.parametrize("kernel", SHIPPED)
@pytest.mark.parametrize("bits", [8, 16])
def test_lenet5_at_eight_and_sixteen_bits_is_as_good_as_in_float(lenet, digits, float_accuracy, kernel, bits):
    """Six tenths of a point of 360 images: two images."""
    result = evaluate(lenet(kernel, bits), digits)

    assert result.images == 360
    assert abs(result.accuracy - float_accuracy[kernel]) <= 0.006


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("bits", range(2, 17))
def test_lenet5_lowers_at_every_width(lenet, digits, float_accuracy, kernel, bits):
    """Features have the bits that were asked for, unsigned after a ReLU, and what the last layer reads at least 8;
    adder weights stand on the grid of their features."""
    program = lenet(kernel, bits)

    hidden = [op for op in program.ops if isinstance(op, Requantise) and op.name != "scores"]
    assert [op.format for op in hidden] == [unsigned(bits)] * 3 + [unsigned(max(bits, 8))]
    first, *middle, last = convolutions(program)
    edge = signed(max(bits, 8))
    assert (first.kernel, first.weight_format, last.kernel, last.weight_format) == ("mult", edge, "mult", edge)
    assert [op.kernel for op in middle] == [kernel] * 3
    assert {op.weight_format for op in middle} == {unsigned(bits) if kernel == "adder" else signed(bits)}
    result = evaluate(program, digits)
    if bits >= 4:
        assert result.accuracy >= float_accuracy[kernel] - 0.02
    else:
        assert result.accuracy > 0.3, "ten classes: chance is 0.1"


@pytest.mark.parametrize("kernel", KERNELS)
def test_classic_lenet5_has_the_classic_number_of_products(kernel):
    """117,600 + 240,000 + 48,000 + 10,080 + 840 = 416,520 MACs and 61,470 weights."""
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 28, 28), dtype=np.uint8)

    program = lower(zoo.build("lenet5", kernel=kernel, shape=(1, 28, 28)), images)

    macs = [op.taps * math.prod(program.shape(op.name)) for op in convolutions(program)]
    assert macs == [117_600, 240_000, 48_000, 10_080, 840]
    assert program.macs() == 416_520
    assert program.parameters() == 61_470


def test_lowering_repeats_itself(calibration):
    from addax.quant.files.archive import program_bytes

    module = zoo.build("lenet5", kernel="adder")

    first, second = (program_bytes(lower(module, calibration[:50])) for _ in range(2))

    assert first == second


def test_metadata_and_steps_ride_along(lenet):
    program = lenet("adder", 8)

    assert program.metadata["network"] == "lenet5" and program.metadata["bits"] == "8"
    assert program.steps["pixels"] == 1 / 255
    assert all(program.steps[op.name] > 0 for op in program.ops if isinstance(op, Requantise))
