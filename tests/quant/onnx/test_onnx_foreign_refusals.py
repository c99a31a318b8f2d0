"""Attributes that are not understood and broken foreign files are refused by name."""

import numpy as np
import onnx
import pytest
from addax.common.errors import UserError
from addax.quant.onnx.read import import_onnx
from alike import RNG, features
from foreign import Foreign, random_network
from onnx import TensorProto, helper

REFUSED = {
    "quant-attribute": (lambda g: g.node("Quant", "x", *g_quant(g), signed=1, narrow=0, gain=2),
                        "its attribute gain is not understood; understood: signed, narrow, rounding_mode"),
    "quant-lacks": (lambda g: g.node("Quant", "x", *g_quant(g), narrow=0), "lacks 'signed'"),
    "quant-zero": (lambda g: g.quant("x", 1.0, zero=0.5), "its zero point must be a whole number"),
    "quant-mode": (lambda g: g.quant("x", 1.0, rounding="SOMEHOW"), "rounding mode must be one of ROUND, HALF_EVEN"),
    "storage-order": (lambda g: g.node("MaxPool", g.quant("x", 1.0), kernel_shape=[2, 2], storage_order=1),
                      "its storage_order must be 0, not 1"),
    "pool-dilation": (lambda g: g.node("MaxPool", g.quant("x", 1.0), kernel_shape=[2, 2], dilations=[2, 2]),
                      "its dilations must be 1"),
    "pool-large": (lambda g: g.node("MaxPool", g.quant("x", 1.0), kernel_shape=[9, 9]), "larger than the padded map"),
    "both-pads": (lambda g: g.node("MaxPool", g.quant("x", 1.0), kernel_shape=[2, 2], pads=[1] * 4, auto_pad="VALID"),
                  r"its auto_pad VALID contradicts its pads"),
    "transposed": (lambda g: g.node("Gemm", g.node("Flatten", g.quant("x", 1.0)), g.weights(RNG(0), (1, 3)), transA=1),
                   "its transA must be 0, not 1"),
    "training": (lambda g: g.node("BatchNormalization", "x", *[g.constant(np.ones(2))] * 4, training_mode=1),
                 "its training_mode must be 0, not 1"),
    "antialias": (lambda g: g.node("Resize", g.quant("x", 1.0), "", g.constant([1, 1, 2, 2]), antialias=1),
                  "its antialias must be 0"),
    "aspect": (lambda g: g.node("Resize", g.quant("x", 1.0), "", "", g.sizes([1, 2, 8, 8]),
                                keep_aspect_ratio_policy="not_larger"), "its keep_aspect_ratio_policy must be stretch"),
    "kernel": (lambda g: g.node("Conv", g.quant("x", 1.0), g.weights(RNG(0), (2, 2, 3, 3)), kernel_shape=[2, 2]),
               r"its kernel_shape must be that of the weights, \[3, 3\]"),
    "batch": (lambda g: g.node("Reshape", g.quant("x", 1.0), g.sizes([2, 16])), "it must keep the batch"),
    "axes": (lambda g: g.node("Transpose", g.quant("x", 1.0), perm=[1, 0, 2, 3]), "it must keep the batch"),
    "mean-axis": (lambda g: g.node("ReduceMean", g.quant("x", 1.0), g.sizes([1])),
                  r"over rows and columns, not over axes \[1\]"),
    "product": (lambda g: g.node("Mul", "x", "x"), "a product of two tensors of the network"),
    "rank": (lambda g: g.node("Add", g.quant("x", 1.0), g.node("Flatten", g.quant("x", 1.0))), "which must be equal"),
    "constant-rank": (lambda g: g.node("Add", g.node("Flatten", "x"), g.constant(np.zeros((1, 2, 4, 4)))),
                      "its last axes must be those of the tensor"),
    "top-axis": (lambda g: g.node("ArgMax", g.node("Flatten", "x")), "over the class scores"),
    "smallest": (lambda g: g.node("TopK", g.node("Flatten", "x"), g.sizes([1]), largest=0, outputs=2),
                 "its largest must be 1, not 0"),
    "threshold-layout": (lambda g: g.node("MultiThreshold", "x", g.constant([[0.5]]), out_dtype="UINT1",
                                          data_layout="NC"), "its data_layout NC does not fit a tensor of 4 axes"),
    "other-grid": (lambda g: g.node("DequantizeLinear", g.node("QuantizeLinear", "x", g.constant(0.1), word(g, 0)),
                                    g.constant(0.2), word(g, 0)), "must be those of the QuantizeLinear in front"),
    "words": (lambda g: g.node("Add", g.node("QuantizeLinear", "x", g.constant(0.1), word(g, 0)), word(g, 1)),
              "only a DequantizeLinear can read it"),
    "unnatural-output": (lambda g: g.node("Transpose", g.quant("x", 1.0), perm=[0, 2, 3, 1]), "is transposed"),
    "training-dropout": (lambda g: g.node("Dropout", "x", "", g.constant(True, dtype=bool)), "not be in training mode"),
}  # fmt: skip


def g_quant(g):
    return [g.constant(value) for value in (1.0, 0.0, 8.0)]


def word(g, value):
    return g.constant(value, dtype=np.uint8)


# Attributes


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_refused_by_name(tmp_path, name):
    make, message = REFUSED[name]
    g = Foreign((2, 4, 4))
    path = tmp_path / "made.onnx"
    path.write_bytes(g.model(make(g), (2, None, None)).SerializeToString())

    with pytest.raises(UserError, match=message) as caught:
        import_onnx(path)

    assert "\n" not in str(caught.value)


def broken_files():
    def bad_type(g):
        g.constants[0].data_type = 99

    def no_value(g):
        g.nodes.insert(0, helper.make_node("Constant", [], ["none"]))

    def no_kind(g):
        g.nodes[0].attribute[0].type = 0

    def no_inputs(g):
        del g.nodes[0].input[1:]

    def text(g):
        g.constants[0].CopyFrom(helper.make_tensor(g.constants[0].name, TensorProto.STRING, [1], ["a"]))

    return {"type": bad_type, "value": no_value, "kind": no_kind, "inputs": no_inputs, "text": text}


# Broken files


@pytest.mark.parametrize("name", broken_files())
def test_broken_graphs_are_named(tmp_path, name):
    """They ended in an internal error."""
    g = Foreign((1, 6, 6))
    last = features(g)
    broken_files()[name](g)
    path = tmp_path / "broken.onnx"
    path.write_bytes(g.model(last, (3, 6, 6)).SerializeToString())

    with pytest.raises(UserError, match=r"broken\.onnx") as caught:
        import_onnx(path)
    assert "\n" not in str(caught.value)


def test_a_graph_cannot_make_a_constant_that_fills_the_memory(tmp_path):
    g = Foreign((1, 6, 6))
    column, row = g.constant(np.zeros((20000, 1))), g.constant(np.zeros((1, 20000)))
    path = g.saved(tmp_path, g.node("Add", "x", g.node("Add", column, row)), (1, 6, 6))

    with pytest.raises(UserError, match=r"makes a constant of 4e\+08 elements"):
        import_onnx(path)


def test_a_network_without_quantisers_is_told_so(tmp_path):
    g = Foreign((1, 6, 6))
    path = g.saved(tmp_path, g.node("Conv", "x", g.constant(np.ones((1, 1, 3, 3)))), (1, 4, 4))

    with pytest.raises(UserError, match="the file has none, it is a network of real numbers: quantise and export it"):
        import_onnx(path)


def test_bytes_changed_at_random_are_a_users_mistake_at_most(tmp_path):
    """A broken file ends in one line that names it, whatever is broken."""
    rng, path = RNG(0), tmp_path / "changed.onnx"
    graphs = [random_network(seed) for seed in range(12)]
    files = [graph.model(output, shape).SerializeToString() for graph, output, shape in graphs]
    for k in range(400):
        changed = bytearray(files[k % len(files)])
        for place in rng.integers(0, len(changed), rng.integers(1, 6)):
            changed[place] = rng.integers(256)
        path.write_bytes(bytes(changed))
        try:
            import_onnx(path)
        except UserError as error:
            assert "changed.onnx" in str(error) and "\n" not in str(error), k


def test_tensors_in_other_files_are_refused(tmp_path):
    """A file is no reason to open another one: its path could be any."""
    g = Foreign((1, 6, 6))
    path = g.saved(tmp_path, features(g), (3, 6, 6))
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    path.write_bytes(model.SerializeToString())

    with pytest.raises(UserError, match="stands in another file; save the model with its data inside"):
        import_onnx(path)
