"""Checkpoints that come along, quantised and measured on the test images that their files speak of.

The data lie beside the repository, in ``shared/data``; what needs them is skipped where they are not.
"""

from pathlib import Path

import pytest
from addax.models import checkpoints, data
from addax.models.files.checkpoint import load_checkpoint
from addax.quant.quantize import evaluate, quantize
from published_files import shared

SETS = {"mnist": "mnist", "fashion-mnist": "fashion_mnist"}
KERNELS = ("adder", "mult", "xnor", "shift")


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("title", SETS)
def test_integers_of_8_bits_classify_as_the_file_says_of_floats(title, kernel):
    """All 10,000 test images; within 0.3 points of the accuracy of the floats."""
    source = shared(SETS[title])
    path = Path(checkpoints.__file__).parent / f"{title}-lenet5-{kernel}.safetensors"
    _, recipe = load_checkpoint(path)

    program = quantize(str(path), kernel=None, weights=None, bits=8, data_source=str(source))
    found = evaluate(program, data.load(str(source), "test", shape=program.input.shape))

    assert found.accuracy == pytest.approx(recipe.accuracy, abs=0.003)
