"""Networks that Brevitas quantised and exported, as Programs: what they predict and what they score stays."""

import logging
import warnings
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
import torch
from addax.common.errors import UserError
from addax.models import data
from addax.quant import golden
from addax.quant.formats import unsigned
from addax.quant.onnx.functions import QONNX
from addax.quant.onnx.read import import_onnx
from addax.quant.program import (
    Concat,
    Convolution,
    MaxPool,
    PixelShuffle,
    Program,
    Requantise,
    Threshold,
    Upsample,
)
from onnx import TensorProto, helper, numpy_helper
from torch import nn


def plain():
    """Convolutions with batch norm and with a bias, scales per tensor and per channel."""
    import brevitas.nn as qnn
    from brevitas.quant import Uint8ActPerTensorFloat

    return nn.Sequential(
        qnn.QuantIdentity(bit_width=8, act_quant=Uint8ActPerTensorFloat),
        qnn.QuantConv2d(1, 4, 3, padding=1, bias=False, weight_bit_width=4), nn.BatchNorm2d(4),
        qnn.QuantReLU(bit_width=4), nn.MaxPool2d(2),
        qnn.QuantConv2d(4, 6, 3, stride=2, weight_bit_width=5, weight_scaling_per_output_channel=True),
        qnn.QuantReLU(bit_width=6), nn.Flatten(), qnn.QuantLinear(54, 10, bias=True, weight_bit_width=8),
    )  # fmt: skip


class Joined(nn.Module):
    """A residual addition, groups, a mean, binary layers, a batch norm at the end."""

    def __init__(self):
        super().__init__()
        import brevitas.nn as qnn
        from brevitas.quant import SignedBinaryActPerTensorConst, SignedBinaryWeightPerTensorConst

        self.pixels = qnn.QuantIdentity(bit_width=8)
        self.first = qnn.QuantConv2d(1, 4, 3, padding=1, bias=False, weight_bit_width=4)
        self.first_norm, self.first_act = nn.BatchNorm2d(4), qnn.QuantReLU(bit_width=8)
        self.second = qnn.QuantConv2d(4, 4, 3, padding=1, groups=2, bias=False, weight_bit_width=6)
        self.joined_act = qnn.QuantReLU(bit_width=8)
        self.mean, self.mean_act = nn.AvgPool2d(2), qnn.QuantIdentity(bit_width=8)
        binary = {"bias": False, "weight_quant": SignedBinaryWeightPerTensorConst}
        self.third, self.third_norm = qnn.QuantConv2d(4, 12, 3, **binary), nn.BatchNorm2d(12)
        self.sign = qnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst)
        self.pool, self.dense, self.dense_norm = nn.MaxPool2d(2), qnn.QuantLinear(108, 10, **binary), nn.BatchNorm1d(10)

    def forward(self, x):
        x = self.first_act(self.first_norm(self.first(self.pixels(x))))
        x = self.joined_act(self.second(x) + x)
        x = self.sign(self.third_norm(self.third(self.mean_act(self.mean(x)))))
        return self.dense_norm(self.dense(self.pool(x).flatten(1)))


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A trained network, its file, and what it gives for the digits of the test split."""

    path: object
    program: Program
    scores: np.ndarray


def real(pixels):
    return torch.from_numpy(pixels.astype(np.float32) / 255)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Trained for a moment on digits, exported by Brevitas; made once each."""
    made = {}

    def make(build):
        if build not in made:
            made[build] = export(build, tmp_path_factory.mktemp("brevitas") / "network.onnx")
        return made[build]

    return make


def export(build, path):
    torch.manual_seed(3)
    digits, test = data.load("digits", "train"), data.load("digits", "test")
    labels = torch.from_numpy(digits.y.astype(np.int64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of brevitas, and of torch's exporter
        from brevitas.export import export_qonnx

        network = build()
        optimiser = torch.optim.Adam(network.parameters(), 1e-2)
        for begin in [*range(0, len(digits), 64)] * 6:
            part = slice(begin, begin + 64)
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(real(digits.x[part])), labels[part]).backward()
            optimiser.step()
        network.eval()
        with torch.no_grad():
            scores = network(real(test.x)).numpy()
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)
        export_qonnx(network, args=real(test.x[:1]), export_path=str(path), opset_version=18)
        logging.disable(level)
    return Exported(path=path, program=import_onnx(path), scores=scores)


@pytest.mark.parametrize(
    ("build", "least"),
    [
        (plain, 1.0),
        pytest.param(Joined, 0.98, marks=[pytest.mark.slow, pytest.mark.guard]),
    ],
)
def test_the_program_predicts_what_brevitas_predicts(exported, digits, build, least):
    """A quantiser of Brevitas rounds ties to even, a requantise rounds them up: a sign may turn at such a tie."""
    found = exported(build)

    classes = golden.run(found.program, digits.x).classes

    assert (classes == found.scores.argmax(1)).mean() >= least
    assert (classes == digits.y).mean() > 0.7, "a network that predicts nothing shows nothing"


def test_scores_are_those_of_brevitas_within_their_rounding(exported, digits):
    found = exported(plain)
    program = found.program
    step = program.steps[program.ops[-1].source]

    scores = golden.run(program, digits.x).scores * step

    assert np.mean(np.abs(scores - found.scores) <= step) > 0.95
    assert np.abs(scores - found.scores).max() < 0.02 * np.abs(found.scores).max()


@pytest.mark.slow
@pytest.mark.guard
def test_every_layer_is_what_it_was(exported):
    program = exported(Joined).program
    first, second, third, dense = [op for op in program.ops if isinstance(op, Convolution)]
    kinds = [type(op) for op in program.ops]

    assert [op.kernel for op in (first, second, third, dense)] == ["mult", "mult", "mult", "xnor"]
    assert [op.weight_format.bits for op in (first, second, third, dense)] == [4, 6, 1, 1]
    assert (second.groups, second.padding, third.padding) == (2, 1, 0)
    assert kinds.count(Threshold) == 1 and kinds.count(MaxPool) == 1
    joins = [op for op in program.ops if isinstance(op, Requantise) and op.residual is not None]
    assert len(joins) == 1 and joins[0].lo == 0
    assert program.metadata["kernel"] == "mult+xnor"


def test_features_on_stored_grids_are_those_of_brevitas(exported, digits):
    """The first requantise is nothing but the first quantiser."""
    program = exported(plain).program
    first = program.ops[1]

    stored = golden.run(program, digits.x[:20], trace=True).tensors[first.name]

    step = program.steps[first.name]
    expected = np.rint(digits.x[:20].astype(np.float32) / 255 / step).clip(0, 255)
    assert np.abs(stored - expected).max() <= 1
    assert np.mean(stored == expected) > 0.99


# Hand-made graphs: what Brevitas may write besides


class Graph:
    """A network of one-image batches under construction."""

    def __init__(self, shape=(2, 4, 4)):
        self.shape, self.nodes, self.constants = shape, [], []

    def constant(self, value, name=None):
        name = name or f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def node(self, kind, *inputs, **given):
        output = f"t{len(self.nodes)}"
        domain = QONNX if kind in ("Quant", "BipolarQuant", "IntQuant", "Trunc") else ""
        name = given.pop("name", f"{kind.lower()}_{len(self.nodes)}")
        self.nodes.append(
            helper.make_node(kind, inputs, [output], name=name, domain=given.pop("domain", domain), **given)
        )
        return output

    def sizes(self, value):
        self.constants.append(numpy_helper.from_array(np.array(value, np.int64), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def quant(self, x, scale, bits=8, *, zero=0.0, signed=0, narrow=0, rounding="ROUND"):
        given = [self.constant(value) for value in (scale, zero, bits)]
        return self.node("Quant", x, *given, signed=signed, narrow=narrow, rounding_mode=rounding)

    def dense(self, x, inputs, outputs=3):
        weight = self.quant(
            self.constant(np.arange(inputs * outputs).reshape(outputs, inputs) % 7 - 3), 1.0, 4, signed=1
        )
        return self.node("Gemm", x, weight, transB=1)

    def saved(self, path, output, classes=3, shape=None):
        graph = helper.make_graph(
            self.nodes, "made", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *self.shape])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, *(shape or (classes,))])],
            self.constants,
        )  # fmt: skip
        imports = [helper.make_opsetid("", 18), helper.make_opsetid(QONNX, 2), helper.make_opsetid("other", 1)]
        onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), path / "made.onnx")
        return path / "made.onnx"


def images(shape, count=50):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def in_qonnx(path, pixels):
    """The scores of qonnx's own executor, image by image, as the file says them."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about shapes of scalars
        model = ModelWrapper(str(path)).transform(InferShapes())
        output = model.graph.output[0].name
        return np.concatenate(
            [execute_onnx(model, {"x": image[None].astype(np.float32) / 255})[output] for image in pixels]
        )


def close(path, shape=(2, 4, 4)):
    """Whether scores are within two roundings of what qonnx computes of the file in real numbers; the Program."""
    program = import_onnx(path)
    step = program.steps[program.ops[-1].source]
    pixels = images(shape)
    found = golden.run(program, pixels).scores * step
    expected = in_qonnx(path, pixels).reshape(found.shape)
    assert np.ptp(expected) > 5 * step, "all scores are alike"
    off = np.abs(found - expected)
    assert np.mean(off <= step) > 0.9 and off.max() < 0.1 * np.ptp(expected), (off.max() / step, np.ptp(expected))
    return program


def test_factors_and_offsets_of_the_input_are_folded(tmp_path):
    g = Graph()
    x = g.node("Sub", "x", g.constant(np.array([0.3, 0.6]).reshape(1, 2, 1, 1)))
    x = g.node("Div", x, g.constant(np.array([0.25, 0.5]).reshape(1, 2, 1, 1)))
    x = g.node("Add", g.constant(0.125), g.node("Mul", x, g.constant(2.0)))
    x = g.quant(g.node("Sub", g.constant(1.0), x), 0.05, signed=1)
    path = g.saved(tmp_path, g.dense(g.node("Flatten", x), 32))

    close(path)


def test_zero_points_become_ranges(tmp_path):
    g = Graph()
    x = g.quant(g.node("Sub", "x", g.constant(0.4)), 1 / 64, 6, zero=20.0)
    program = close(g.saved(tmp_path, g.dense(g.node("Flatten", x), 32)))

    first = program.ops[1]
    assert (first.lo, first.hi) == (-20, 43)


def test_narrow_range_is_kept(tmp_path):
    g = Graph()
    x = g.quant(g.node("Sub", "x", g.constant(0.5)), 1 / 16, 4, signed=1, narrow=1)
    program = close(g.saved(tmp_path, g.dense(g.node("Flatten", x), 32)))

    assert (program.ops[1].lo, program.ops[1].hi) == (-7, 7)


def test_pools_of_sums_means_of_maps_and_joined_channels(tmp_path):
    g = Graph(shape=(2, 6, 6))
    x = g.quant("x", 1 / 255)
    weight = g.quant(
        g.constant(np.random.default_rng(1).normal(size=(4, 2, 3, 3))), np.full((4, 1, 1, 1), 0.25), 4, signed=1
    )
    sums = g.node("Conv", x, weight, g.constant([1.0, -1.0, 0.5, 0.0]), pads=[1] * 4, kernel_shape=[3, 3])
    pooled = g.node("MaxPool", sums, kernel_shape=[2, 2], strides=[2, 2])
    stored = g.quant(g.node("Relu", pooled), 0.02)
    both = g.node("Concat", stored, stored, axis=1)
    mean = g.quant(g.node("GlobalAveragePool", both), 0.01)
    path = g.saved(tmp_path, g.dense(g.node("Reshape", mean, shape(g, [1, 8])), 8))

    program = close(path, (2, 6, 6))
    assert sum(isinstance(op, Concat) for op in program.ops) == 1


def shape(g, dims):
    g.constants.append(numpy_helper.from_array(np.array(dims, np.int64), f"shape{len(g.constants)}"))
    return g.constants[-1].name


def test_matmul_with_transposed_weights_and_a_bias_behind(tmp_path):
    g = Graph()
    flat = g.node("Flatten", g.quant("x", 1 / 255))
    weight = g.quant(g.constant(np.random.default_rng(2).normal(size=(5, 32))), np.full((5, 1), 0.25), 4, signed=1)
    sums = g.node("MatMul", flat, g.node("Transpose", weight, perm=[1, 0]))
    close(g.saved(tmp_path, g.node("Add", sums, g.constant(np.linspace(-3, 3, 5))), 5))


def test_bits_behind_padding_are_numbers_there(tmp_path):
    """A border of zeros is neither -1 nor +1."""
    g = Graph(shape=(1, 5, 5))
    bits = g.node("BipolarQuant", g.node("Sub", "x", g.constant(0.5)), g.constant(1.0))
    weight = g.node("BipolarQuant", g.constant(np.random.default_rng(4).normal(size=(3, 1, 3, 3))), g.constant(0.5))
    sums = g.node("Conv", bits, weight, pads=[1] * 4, kernel_shape=[3, 3])
    path = g.saved(tmp_path, g.dense(g.node("Flatten", g.quant(sums, 0.5, 5, signed=1)), 75))

    program = close(path, (1, 5, 5))
    assert [op.kernel for op in program.ops if isinstance(op, Convolution)] == ["mult", "mult"]


def test_bits_that_are_scaled_are_the_numbers_that_they_stand_for(tmp_path):
    g = Graph()
    bits = g.node("BipolarQuant", g.node("Sub", "x", g.constant(0.5)), g.constant(0.5))
    moved = g.node("Add", g.node("Mul", bits, g.constant(1.5)), g.constant(0.125))
    close(g.saved(tmp_path, g.dense(g.node("Flatten", g.quant(moved, 1 / 16, 6, signed=1)), 32)))


def test_scores_behind_a_quantiser_are_taken_as_they_are(tmp_path):
    g = Graph()
    sums = g.dense(g.node("Flatten", g.quant("x", 1 / 255)), 32)

    close(g.saved(tmp_path, g.quant(sums, 0.25, 8, signed=1)))


@pytest.mark.parametrize(
    ("inputs", "given"),
    [
        (lambda g: ["", g.constant([1, 1, 3, 3])],
         {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
        (lambda g: ["", g.constant([1, 1, 3, 3])], {}),
        (lambda g: ["", "", g.sizes([1, 2, 12, 12])],
         {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"}),
    ],
    ids=["torch", "default", "sizes"],
)  # fmt: skip
def test_resize_and_pixel_shuffle_end_in_a_raw_map(tmp_path, inputs, given):
    """All forms of a resize by a whole factor that only repeat pixels; bits stay bits."""
    g = Graph()
    larger = g.node("Resize", g.quant("x", 1 / 255, 6), *inputs(g), **given)
    shuffled = g.node("DepthToSpace", g.node("Concat", larger, larger, axis=1), blocksize=2, mode="CRD")
    path, pixels = g.saved(tmp_path, shuffled, shape=(1, 24, 24)), images((2, 4, 4), 5)

    program = import_onnx(path)

    assert [type(op) for op in program.ops[-3:]] == [Upsample, Concat, PixelShuffle]
    found = golden.run(program, pixels).output * program.steps[program.output]
    assert np.allclose(found, in_qonnx(path, pixels).reshape(found.shape), atol=1e-6)


def test_bits_are_enlarged_as_bits(tmp_path):
    g = Graph()
    bits = g.node("BipolarQuant", g.node("Sub", "x", g.constant(0.5)), g.constant(1.0))
    path = g.saved(tmp_path, g.node("Resize", bits, "", g.constant([1, 1, 2, 2])), shape=(2, 8, 8))

    program = import_onnx(path)

    assert program.format(program.output) == unsigned(1)
    found = golden.run(program, images((2, 4, 4))).output
    assert np.array_equal(2 * found - 1, in_qonnx(path, images((2, 4, 4))).reshape(found.shape))


# What is refused


def conv(g, x, *, behind_quantiser=True, **given):
    weight = g.constant(np.ones((2, 2, 3, 3)))
    return g.node("Conv", x, g.quant(weight, 1.0, 4, signed=1) if behind_quantiser else weight, name="layer", **given)


REFUSED = {
    "operation": (lambda g: g.node("Erf", "x", name="last"),
                  r"unsupported ONNX operation Erf at node 'last' of .*made\.onnx; supported: Quant, IntQuant, B"),
    "softmax-within": (lambda g: g.quant(g.node("Softmax", g.node("Flatten", "x")), 1.0),
                       "comes from a Softmax, which can only stand behind the class scores"),
    "softmax-of-a-map": (lambda g: g.node("Softmax", "x", axis=1), "must be over the class scores of an image"),
    "domain": (lambda g: g.node("Conv2", "x", name="odd", domain="other"),
               "unsupported ONNX operation other.Conv2 at node 'odd'"),
    "trunc": (lambda g: g.node("Trunc", "x", *[g.constant(1.0)] * 3, name="t", rounding_mode="FLOOR"),
              "Trunc at node 't' of .*: it must have 5 or 6 inputs, not 4"),
    "float-weights": (lambda g: conv(g, g.quant("x", 1.0), behind_quantiser=False),
                      "Conv at node 'layer' of .*: weights 'c3' must be a constant behind a quantiser"),
    "float-features": (lambda g: conv(g, conv(g, g.quant("x", 1.0))), "needs a quantiser in front"),
    "rounding": (lambda g: g.quant("x", 1.0, rounding="CEIL"), "rounding mode must be ROUND, of features, not CEIL"),
    "scale": (lambda g: g.quant("x", 0.0), "its scale must be positive"),
    "scales": (lambda g: g.quant("x", np.arange(1, 3).reshape(1, 2, 1, 1)), "scale, of features, must have one value"),
    "bits": (lambda g: g.quant("x", 1.0, 3.5), "its bit width must be a whole number"),
    "wide": (lambda g: conv(g, g.quant("x", 1.0, 20)), r"features of the mult kernel have 2 to 16 bits, not 20"),
    "three": (lambda g: sum_of_three(g), "a sum of a ReLU or of three tensors needs a quantiser in between"),
    "zero": (lambda g: g.node("Div", "x", g.constant(0.0)), "it divides by zero"),
    "inverse": (lambda g: g.node("Div", g.constant(1.0), "x"), "a constant divided by features is not linear"),
    "constant": (lambda g: g.node("Mul", "x", g.constant(np.arange(4))),
                 r"a constant of shape \(4,\) is neither one number nor"),
    "flatten": (lambda g: g.node("Flatten", "x", axis=2), "it must keep the batch"),
    "mean": (lambda g: g.node("AveragePool", g.quant("x", 1.0), kernel_shape=[2, 2], pads=[1] * 4),
             r"its padding \[1, 1, 1, 1\] is not counted"),
    "map": (lambda g: conv(g, g.quant("x", 1.0)),
            "does not make a program: its output is a map of 2x2, not one score per class: it needs a quantiser"),
    "shuffle": (lambda g: g.node("DepthToSpace", g.quant("x", 1.0), name="s", blocksize=2), "mode must be CRD"),
    "shuffled-sums": (lambda g: g.node("DepthToSpace", conv(g, g.quant("x", 1.0)), blocksize=1, mode="CRD"),
                      "needs a quantiser in front"),
    "resize": (lambda g: g.node("Resize", g.quant("x", 1.0), "", g.constant([1, 1, 2, 2]), mode="cubic"),
               r"only nearest neighbours .* not cubic \(half_pixel, round_prefer_floor\)"),
    "resize-coordinates": (lambda g: g.node("Resize", g.quant("x", 1.0), "", g.constant([1, 1, 2, 2]),
                           coordinate_transformation_mode="align_corners"), "only nearest neighbours"),
    "resize-factors": (lambda g: g.node("Resize", g.quant("x", 1.0), "", g.constant([1, 1, 2, 3])),
                       r"by one whole number, not by \[1\.0, 1\.0, 2\.0, 3\.0\]"),
    "resize-half": (lambda g: g.node("Resize", g.quant("x", 1.0), "", g.constant([1, 1, 1.5, 1.5])),
                    "by one whole number"),
    "resize-sizes": (lambda g: g.node("Resize", g.quant("x", 1.0), "", "", g.sizes([1, 2, 8, 12])),
                     "by one whole number"),
    "resize-variable": (lambda g: g.node("Resize", g.quant("x", 1.0), "", "x"), "scales or sizes must be constant"),
    "grids": (lambda g: g.node("Concat", g.quant("x", 1.0), g.quant("x", 2.0), axis=1),
              "must have one scale, not 1, 2"),
}  # fmt: skip


def sum_of_three(g):
    x = g.quant("x", 1.0)
    two = g.node("Add", conv(g, x, pads=[1] * 4), x)
    return g.node("Add", two, x)


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_program_says_is_refused_by_node_and_reason(tmp_path, name):
    make, message = REFUSED[name]
    g = Graph()
    path = g.saved(tmp_path, make(g))

    with pytest.raises(UserError, match=message) as caught:
        import_onnx(path)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dims", [[1, 2, 3, 4, 5], [1, 2, 0, 4], [1, 0]])
def test_input_that_is_no_image_is_refused(tmp_path, dims):
    g = Graph(shape=dims[1:])
    path = g.saved(tmp_path, g.quant("x", 1.0))

    with pytest.raises(UserError, match=r"input 'x' of .* must be images \(N, C, H, W\) of known size"):
        import_onnx(path)
