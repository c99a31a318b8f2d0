"""Quantisers of FINN, Brevitas, onnxruntime and plain ONNX give qonnx's integers."""

import logging
import warnings

import numpy as np
import onnx
import pytest
from addax.hdl.dataflow.stages import stages_of
from addax.quant import golden
from addax.quant.formats import signed, unsigned
from addax.quant.onnx.read import import_onnx
from addax.quant.program import Convolution, Requantise, Threshold
from alike import RNG, equal, features
from foreign import Foreign, compared, pixels_for
from onnx import TensorProto, helper


def threshold_network(tmp_path, thresholds, **given):
    g = Foreign((1, 5, 5))
    x = g.node("Conv", g.quant("x", 1 / 255), g.weights(RNG(1), (3, 1, 3, 3)))
    x = g.node("BatchNormalization", x, *(g.constant(part) for part in ([1, -1, 0.5], [0.1] * 3, [0.2] * 3, [1] * 3)))
    x = g.node("MultiThreshold", x, g.constant(thresholds), **given)
    x = g.node("MatMul", g.node("Flatten", x), g.weights(RNG(2), (27, 5)))
    return equal(g.saved(tmp_path, g.quant(x, 0.0313, 8, signed=1), (5,)))


@pytest.mark.parametrize("rows", [1, 3])
def test_thresholds_count_from_any_bias_and_make_bits(tmp_path, rows):
    levels = np.sort(RNG(rows).normal(0, 0.4, (rows, 5)), axis=1)
    program = threshold_network(tmp_path, levels, out_dtype="INT4", out_scale=0.5, out_bias=-1.5)
    assert any(isinstance(op, Threshold) and op.format == unsigned(3) for op in program.ops)

    program = threshold_network(tmp_path, levels[:, 2:3], out_dtype="BIPOLAR", out_scale=2.0, out_bias=-1.0)
    assert any(isinstance(op, Threshold) and op.format == unsigned(1) for op in program.ops)
    stages_of(program)


def test_finn_holds_integers_without_quantisers(tmp_path):
    """What is made of QONNX for FINN: weights are integers by their annotation, thresholds are the activations."""
    g = Foreign((1, 5, 5))
    words = RNG(3).choice([-1, 1], (3, 1, 3, 3))
    weights = g.constant(words)
    g.annotations = {weights: "BIPOLAR", "x": "UINT8"}
    x = g.node("Conv", "x", weights)
    x = g.node("MultiThreshold", x, g.constant([[-200, 10, 300]]), out_dtype="UINT2")
    dense = g.constant(RNG(4).integers(-2, 2, (27, 4)))
    g.annotations[dense] = "INT2"
    x = g.node("Mul", g.node("MatMul", g.node("Flatten", x), dense), g.constant(0.125))
    program, found, expected = compared(g.saved(tmp_path, x, (4,)), scale=1.0)

    assert np.array_equal(found, expected)
    assert [op.weight_format for op in program.ops if isinstance(op, Convolution)] == [unsigned(1), signed(2)]
    assert program.steps["pixels"] == 1


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("mode", ["FLOOR", "ROUND"])
def test_a_mean_is_truncated_as_qonnx_does(tmp_path, newer, mode):
    """A TruncAvgPool of Brevitas, as in its MobileNet: a sum, of which bits are dropped."""
    g = Foreign((1, 7, 7))
    x = g.node(
        "Mul", g.node("AveragePool", features(g, scale=0.03), kernel_shape=[3, 3], strides=[3, 3]), g.constant(9.0)
    )
    given = [0.03, 0.0, 9.0, *([0.03 * 8, 6.0] if newer else [6.0])]
    more = {"signed": 0, "narrow": 0} if newer else {}
    x = g.node("Trunc", x, *(g.constant(value) for value in given), rounding_mode=mode, **more)
    path = g.saved(tmp_path, x, (3, 2, 2))
    if newer:
        model = onnx.load(path)
        next(entry for entry in model.opset_import if entry.domain == g.domain).version = 2
        onnx.save(model, path)

    program, found, expected = compared(path)

    off = np.abs(found - expected) / program.steps[program.output]
    # Halves are rounded up until a requantise rounds them to even.
    assert off.max() < 0.01 if mode == "FLOOR" else off.max() < 1.01 and np.mean(off < 0.01) > 0.7
    assert len(np.unique(found)) > 4


@pytest.mark.parametrize("zero", [0, 11, 128])
@pytest.mark.parametrize("per_axis", [False, True])
def test_plain_quantisers_of_onnx(tmp_path, zero, per_axis):
    """QuantizeLinear and DequantizeLinear with zero points, int8 weights along an axis, an int32 bias, a Clip."""
    g = Foreign((2, 6, 6))
    x = g.pair("x", 1 / 255)
    scales = np.linspace(0.004, 0.007, 4) if per_axis else 0.005
    zeros = np.zeros(4) if per_axis else 0
    words = g.constant(RNG(0).integers(-127, 128, (4, 2, 3, 3)), dtype=np.int8)
    weights = g.node("DequantizeLinear", words, g.constant(scales), g.constant(zeros, dtype=np.int8), axis=0)
    bias = g.node("DequantizeLinear", g.constant(RNG(1).integers(-900, 900, 4), dtype=np.int32),
                  g.constant(np.broadcast_to(scales, 4) / 255), axis=0)  # fmt: skip
    x = g.pair(g.node("Conv", x, weights, bias, pads=[1] * 4), 0.0191, zero)
    x = g.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = g.node("Flatten", g.pair(x, 0.0191, zero))
    float_weights = g.pair(g.constant(RNG(2).normal(0, 0.1, (5, 36))), 0.03, 0, dtype=np.int8, limits=(-7, 7))
    x = g.pair(g.node("Gemm", x, float_weights, transB=1), 0.0523, 0, dtype=np.int8)
    program = equal(g.saved(tmp_path, x, (5,)))

    assert [op.weight_format.bits for op in program.ops if isinstance(op, Convolution)] == [8, 4]
    assert sum(isinstance(op, Requantise) for op in program.ops) == 4  # the pair behind the pool changes nothing
    stages_of(program)


def test_files_of_onnxruntimes_static_quantisation(tmp_path):
    from onnxruntime import InferenceSession, SessionOptions
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    rng = RNG(0)
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["a"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["c", "w1"], ["d"], kernel_shape=[1, 1]),
        helper.make_node("Add", ["c", "d"], ["e"]),
        helper.make_node("GlobalAveragePool", ["e"], ["f"]),
        helper.make_node("Flatten", ["f"], ["g"]),
        helper.make_node("Gemm", ["g", "w2", "b2"], ["y"], transB=1),
    ]
    held = {"w0": (4, 1, 3, 3), "b0": (4,), "w1": (4, 4, 1, 1), "w2": (5, 4), "b2": (5,)}
    tensors = [
        onnx.numpy_helper.from_array(rng.normal(0, 0.5, shape).astype(np.float32), name) for name, shape in held.items()
    ]
    graph = helper.make_graph(
        nodes, "float", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])], tensors,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "f.onnx")
    pixels = pixels_for((1, 8, 8), 40)
    real = pixels.astype(np.float32) / np.float32(255)

    class Reader(CalibrationDataReader):
        left = iter([{"x": image[None]} for image in real])

        def get_next(self):
            return next(self.left, None)

    logging.disable(logging.WARNING)
    quantize_static(
        tmp_path / "f.onnx", tmp_path / "q.onnx", Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    logging.disable(logging.NOTSET)
    options = SessionOptions()
    options.log_severity_level = 3
    session = InferenceSession(tmp_path / "q.onnx", options, providers=["CPUExecutionProvider"])
    expected = np.concatenate([session.run(None, {"x": image[None]})[0] for image in real])

    program = import_onnx(tmp_path / "q.onnx")

    found = golden.run(program, pixels).scores * program.steps[program.output]
    off = np.abs(found - expected) / program.steps[program.output]
    assert off.max() < 2.01 and np.mean(off < 0.5) > 0.9, (off.max(), np.mean(off < 0.5))
    stages_of(program)


def test_files_of_brevitas_plain_export(tmp_path):
    """``export_onnx_qcdq``: fewer bits are a Clip between the pair."""
    import brevitas.nn as qnn
    import torch
    from brevitas.quant import Uint8ActPerTensorFloat

    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from brevitas.export import export_onnx_qcdq

        net = torch.nn.Sequential(
            qnn.QuantIdentity(bit_width=8, act_quant=Uint8ActPerTensorFloat),
            qnn.QuantConv2d(1, 4, 3, bias=True, weight_bit_width=4, weight_scaling_per_output_channel=True),
            qnn.QuantReLU(bit_width=4), torch.nn.Flatten(), qnn.QuantLinear(144, 5, bias=False, weight_bit_width=5),
            qnn.QuantIdentity(bit_width=8),
        )  # fmt: skip
        pixels = pixels_for((1, 8, 8), 60)
        real = torch.from_numpy(pixels.astype(np.float32) / 255)
        for _ in range(30):
            net(real)
        net.eval()
        with torch.no_grad():
            expected = net(real).numpy()
        logging.disable(logging.WARNING)
        export_onnx_qcdq(net, args=real[:1], export_path=str(tmp_path / "b.onnx"), opset_version=18)
        logging.disable(logging.NOTSET)

    program = import_onnx(tmp_path / "b.onnx")

    off = np.abs(golden.run(program, pixels).scores * program.steps[program.output] - expected)
    assert np.mean(off < 0.5 * program.steps[program.output]) > 0.97
    assert [op.weight_format.bits for op in program.ops if isinstance(op, Convolution)] == [4, 5]


def test_a_sign_behind_an_addition(tmp_path):
    """As in binary networks with shortcuts."""
    g = Foreign((1, 6, 6))
    x = features(g)
    more = g.node("Conv", x, g.weights(RNG(4), (3, 3, 1, 1)), g.constant([0.13, -0.21, 0.37]))
    bits = g.node("BipolarQuant", g.node("Sub", more, x), g.constant(0.5))
    signs = g.node("BipolarQuant", g.constant(RNG(5).normal(size=(4, 3, 3, 3))), g.constant(0.25))
    program = equal(g.saved(tmp_path, g.quant(g.node("Conv", bits, signs), 0.21, 6, signed=1), (4, 4, 4)))

    assert [op.kernel for op in program.ops if isinstance(op, Convolution)] == ["mult", "mult", "xnor"]
    stages_of(program)
