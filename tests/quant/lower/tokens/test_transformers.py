"""Whole transformers of ours, from torch to integers: errors of each layer, accuracy, exports."""

import subprocess

import numpy as np
import onnxruntime
import pytest
import torch
from addax.models.training.loop import to_float
from addax.quant import golden
from addax.quant.export import export
from addax.quant.files.archive import program_bytes
from addax.quant.fold.scheme import Scheme
from addax.quant.lower.lowering import lower
from addax.quant.lower.trace import compare
from addax.quant.onnx.read import import_onnx
from addax.quant.program import MatMul, Norm, Unfold
from small_transformers import KERNELS, lively, tnt, vit
from torch import nn


def fitted(net, train_set):
    """With the classifier that fits its features best, by least squares."""
    seen = []
    handle = net.norm.register_forward_hook(lambda m, a, result: seen.append(result[:, 0].double()))
    with torch.no_grad():
        net(to_float(train_set.x))
        handle.remove()
        features = torch.cat(seen)
        whole = torch.cat([features, torch.ones(len(features), 1)], 1)
        wanted = nn.functional.one_hot(torch.from_numpy(train_set.y).long(), 10).double()
        best = torch.linalg.solve(
            whole.T @ whole + 0.05 * len(whole) * torch.eye(whole.shape[1]), whole.T @ wanted
        ).T.float()
        net.head.weight.copy_(best[:, :-1])
        net.head.bias.copy_(best[:, -1])
    return net


@pytest.mark.parametrize("most", [16, 8])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("make", [vit, tnt])
def test_transformer_classifies_as_in_floats(train_set, test_set, make, kernel, most):
    """Random weights but those of the classifier: two points of its accuracy, four with sums of tokens and scores of 8
    bits, and no tensor on the way further from floats than 8 bits explain. A TNT of such weights is right on two digits
    of three, so its scores lie close."""
    net = fitted(lively(make, kernel), train_set)
    program = lower(net, train_set.x[:100], scheme=Scheme(bits=8, most_bits=most))

    with torch.no_grad():
        floats = net(to_float(test_set.x)).argmax(1).numpy()
    found = golden.run(program, test_set.x).classes
    report = compare(program, net, test_set.x[:40])

    right, ours = (np.mean(classes == test_set.y) for classes in (floats, found))
    assert right > 0.45 and abs(right - ours) <= {16: 0.02, 8: 0.04}[most]
    assert np.mean(found == floats) > (0.9 if make is vit else 0.85)
    assert max(row.error for row in report.rows) < 0.12 and len(report.rows) > 20
    assert {op.kernel for op in program.ops if isinstance(op, MatMul) and op.form == "scores"} == {kernel}


def test_vision_transformer_has_no_more_than_it_must():
    """Two products in a block, a norm in front of each of its halves; patches are moved once, to the class token."""
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), np.uint8)
    program = lower(lively(vit, "mult"), images)

    kinds = [type(op).__name__ for op in program.ops]
    assert [kinds.count(kind) for kind in ("MatMul", "Softmax", "Divide", "Norm", "Table")] == [4, 2, 2, 5, 2]
    assert [kinds.count(kind) for kind in ("Rearrange", "Concat", "Slice", "Constant")] == [1, 1, 1, 2]
    assert program.by_name["blocks_0_norm1"].format.bits == 8
    assert program.format(program.by_name["blocks_0_norm1"].source).bits == 12


def test_words_of_a_patch_come_from_windows_inside_of_it():
    """TNT's first convolution: unfolded, with the pixel that normalisation makes 0 beyond the edge of every patch."""
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), np.uint8)
    program = lower(lively(tnt, "mult"), images)

    windows = next(op for op in program.ops if isinstance(op, Unfold))
    assert program.shape(windows.name) == (9, 4, 4)
    assert set(windows.pad) == {128}
    words = [program.shape(op.name) for op in program.ops if isinstance(op, Norm)]
    assert words.count((8, 4, 4)) == 4 and words.count((32, 1, 4)) == 6 and words.count((32, 1, 5)) == 5


@pytest.mark.parametrize("make", [vit, tnt])
def test_transformer_is_the_same_in_onnx_and_c(tmp_path, make):
    """Every integer, whoever runs it, and the file of it read back."""
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 8, 8), np.uint8)
    program = lower(lively(make, "adder"), images)
    expected = golden.run(program, images)
    for form in ("qonnx", "c", "npz"):
        export(program, tmp_path / form, fmt=form)

    session = onnxruntime.InferenceSession(tmp_path / "qonnx/network.onnx", providers=["CPUExecutionProvider"])
    scores, classes = session.run(None, {"pixels": images.astype(np.float32)})
    subprocess.run(["gcc", "-O1", "network.c", "-o", "network"], cwd=tmp_path / "c", check=True)
    said = subprocess.run([tmp_path / "c/network"], input=images.tobytes(), capture_output=True, check=True).stdout

    assert np.array_equal(scores, expected.scores) and np.array_equal(classes, expected.classes)
    assert np.array_equal([line.split()[:-1] for line in said.decode().splitlines()], expected.scores.astype(str))
    assert program_bytes(import_onnx(tmp_path / "qonnx/network.onnx")) == program_bytes(program)
