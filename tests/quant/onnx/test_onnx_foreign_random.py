"""Random networks of every operation that is read: their integers are those of qonnx's executor."""

import logging
from collections import Counter

import numpy as np
import pytest
from addax.quant.files.archive import load_program, program_bytes, save_program
from foreign import compared, random_network


def differing(seed, folder):
    """The largest difference between the Program of a random network and qonnx, in steps of its output."""
    graph, output, shape = random_network(seed)
    program, found, expected = compared(graph.saved(folder, output, shape), count=6)
    save_program(folder / "p.addax", program)
    assert program_bytes(load_program(folder / "p.addax")) == program_bytes(program)
    step = abs(program.steps.get(program.output, 2 * np.abs(expected).max()))
    return float(np.abs(found - expected).max() / step)


def check(seeds, folder):
    logging.disable(logging.WARNING)
    off = {seed: found for seed in seeds if (found := differing(seed, folder)) > 0.01}
    logging.disable(logging.NOTSET)
    assert not off, f"seeds, in steps: {off}"


@pytest.mark.parametrize("part", range(3))
def test_random_networks_give_the_integers_of_qonnx(tmp_path, part):
    check(range(30 * part, 30 * part + 30), tmp_path)


def test_random_networks_have_every_operation():
    """A property of all operations is one only if all are drawn."""
    seen = Counter(node.op_type for seed in range(600) for node in random_network(seed)[0].nodes)

    wanted = {
        "Add", "AveragePool", "BatchNormalization", "BipolarQuant", "Clip", "Concat", "Conv", "DepthToSpace",
        "DequantizeLinear", "Div", "Flatten", "Gemm", "GlobalAveragePool", "MatMul", "MaxPool", "Mul",
        "MultiThreshold", "Quant", "QuantizeLinear", "Relu", "Reshape", "Resize", "Sub", "Transpose",
    }  # fmt: skip
    assert wanted <= set(seen)
    assert min(seen[kind] for kind in wanted) >= 5, seen


@pytest.mark.slow
@pytest.mark.parametrize("part", range(12))
def test_many_random_networks_give_the_integers_of_qonnx(tmp_path, part):
    check(range(1000 + 100 * part, 1100 + 100 * part), tmp_path)
