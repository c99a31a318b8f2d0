"""A network of the size that people use, through every export: twenty layers, residual additions, strides, a mean."""

import subprocess

import numpy as np
import onnxruntime
import pytest
import torch
from addax.models.nets import zoo
from addax.quant import golden
from addax.quant.export import export
from addax.quant.files.archive import program_bytes
from addax.quant.files.npz import import_npz
from addax.quant.lower.lowering import lower
from addax.quant.onnx.read import import_onnx
from addax.quant.onnx.write import qonnx_model
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from torch import nn

IMAGES = 100


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (IMAGES, 3, 32, 32), dtype=np.uint8)


def resnet20(kernel, pixels):
    """With fresh weights, and statistics of a few images, so that features do not die out."""
    torch.manual_seed(0)
    network = zoo.build("resnet20", kernel=kernel)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.momentum = None  # the statistics of these images, not a tenth of them
    with torch.no_grad():
        network.train()(torch.from_numpy(pixels[:50].astype(np.float32) / 255))
    return lower(network.eval(), pixels[:20])


def in_onnxruntime(path, pixels):
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    batches = np.split(pixels.astype(np.float32), 10)
    return np.concatenate([session.run(["scores"], {"pixels": batch})[0] for batch in batches])


def in_qonnx(program, pixels):
    model = ModelWrapper(qonnx_model(program, images=len(pixels) // 10))
    batches = np.split(pixels.astype(np.float32), 10)
    return np.concatenate([execute_onnx(model, {"pixels": batch})["scores"] for batch in batches])


def in_c(folder, pixels):
    command = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-O2", "network.c", "-o", "network"]
    subprocess.run(command, cwd=folder, check=True)
    done = subprocess.run([folder / "network"], input=pixels.tobytes(), capture_output=True, check=True)
    return np.array([[int(word) for word in line.split()[:-1]] for line in done.stdout.decode().splitlines()])


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["adder", "mult", "shift", "xnor:fda"])
def test_every_export_of_resnet20_gives_the_same_scores(tmp_path, pixels, kernel):
    program = resnet20(kernel, pixels)
    expected = golden.run(program, pixels).scores
    assert len(np.unique(expected)) > 100

    qonnx, npz, c = (export(program, tmp_path / fmt, fmt=fmt) for fmt in ("qonnx", "npz", "c"))

    assert np.array_equal(in_onnxruntime(qonnx / "network.onnx", pixels), expected)
    assert np.array_equal(in_qonnx(program, pixels), expected)
    assert np.array_equal(in_c(c, pixels), expected)
    assert program_bytes(import_onnx(qonnx / "network.onnx")) == program_bytes(program)
    assert program_bytes(import_npz(npz)) == program_bytes(program)
    if kernel == "mult":
        qcdq = export(program, tmp_path / "qcdq", fmt="qcdq")
        assert np.array_equal(in_onnxruntime(qcdq / "network.onnx", pixels), expected)
