"""Our ONNX files, cut off, damaged or changed: refused with what is wrong, or the same numbers."""

import json

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.quant.files.archive import program_bytes
from addax.quant.onnx.qcdq import qcdq_model
from addax.quant.onnx.read import import_onnx
from addax.quant.onnx.write import MODEL_HEADER, qonnx_model
from graphs import named
from onnx import helper, numpy_helper
from onnx_files import changed, node_of, saved, set_attribute


@pytest.fixture
def written(tmp_path):
    return saved(qonnx_model(named("graph7")), tmp_path)


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_refused(written, share):
    content = written.read_bytes()
    written.write_bytes(content[: int(share * len(content))])

    with pytest.raises(UserError, match=r"network\.onnx is not an ONNX file, or a broken one: ."):
        import_onnx(written)


@pytest.mark.parametrize("content", [b"\0" * 64, b"not a protobuf", b"\x08\x0a"])
def test_foreign_file_is_refused(tmp_path, content):
    (tmp_path / "x.onnx").write_bytes(content)

    with pytest.raises(UserError, match=r"x\.onnx is not an ONNX file, or a broken one"):
        import_onnx(tmp_path / "x.onnx")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no file at .*none\.onnx; expected an ONNX file"):
        import_onnx(tmp_path / "none.onnx")


@pytest.mark.parametrize("make", [qonnx_model, qcdq_model], ids=["qonnx", "qcdq"])
def test_a_damaged_byte_is_refused_or_changes_nothing(tmp_path, make):
    """Names and comments may be damaged; an integer never goes unnoticed, and nothing but our error is raised."""
    program = named("small")
    content = make(program).SerializeToString()
    rng = np.random.default_rng(0)

    for place in rng.integers(len(content), size=80):
        (tmp_path / "x.onnx").write_bytes(content[:place] + rng.bytes(1) + content[place + 1 :])
        try:
            again = import_onnx(tmp_path / "x.onnx")
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert program_bytes(again) == program_bytes(program)


def flip(model):
    """One weight is another."""
    tensor = next(t for t in model.graph.initializer if t.name.endswith(".weight"))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = -values.flat[0] if values.flat[0] else 1
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def fraction(model):
    tensor = next(t for t in model.graph.initializer if t.name.endswith(".weight"))
    values = numpy_helper.to_array(tensor) + np.float32(0.25)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def nothing(model):
    tensor = next(t for t in model.graph.initializer if t.name.endswith(".weight"))
    values = np.full(tensor.dims, np.nan, np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def without_functions(model, **renamed):
    """Custom operations need no body to be read."""
    del model.functions[:]
    node = node_of(model, "Requantise")
    node.domain, node.op_type = renamed.get("domain", node.domain), renamed.get("kind", node.op_type)
    model.opset_import.append(helper.make_opsetid(node.domain, 1))


def set_metadata(model, text):
    next(entry for entry in model.metadata_props if entry.key == MODEL_HEADER).value = text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (flip, "was changed after 'addax export'"),
        (lambda m: set_attribute(m, "RequantiseChannels", "lo", 1), "was changed after 'addax export'"),
        (lambda m: set_metadata(m, json.dumps({"digest": "0"})), "was changed after 'addax export'"),
        (lambda m: set_attribute(m, "Requantise", "shift", 50), "not hold a program: .*shift must be in 0..47, not 50"),
        (lambda m: set_attribute(m, "Requantise", "shift", None), "node '.*' of .* lacks 'shift'"),
        (lambda m: set_attribute(m, "Requantise", "bits", 0), "bits of a format must be"),
        (lambda m: set_attribute(m, "Conv", "strides", [1, 2]), "does not hold a program: "),
        (lambda m: set_attribute(m, "Conv", "strides", [1, 2, 3]), r"needs 2 strides, not \[1, 2, 3\]"),
        (lambda m: set_attribute(m, "Conv", "pads", [1, 2]), r"needs 4 pads, not \[1, 2\]"),
        (fraction, "must hold integers|must hold -1 and"),
        (nothing, "must hold integers|must hold -1 and"),
        (lambda m: without_functions(m, domain="elsewhere"),
         "unsupported ONNX operation elsewhere.Requantise at node '.*' of .*; supported: "),
        (lambda m: without_functions(m, kind="Softmax"), "unsupported ONNX operation addax.quant.qonnx_ops.Softmax"),
        (lambda m: set_metadata(m, "{"), "broken metadata of addax"),
        (lambda m: set_metadata(m, "[1]"), "broken metadata of addax"),
    ],
)  # fmt: skip
def test_changed_file_is_refused_with_what_is_wrong(written, change, message):
    with pytest.raises(UserError, match=message) as caught:
        import_onnx(changed(written, change))

    assert "\n" not in str(caught.value)


def test_changed_qcdq_is_refused(tmp_path):
    path = saved(qcdq_model(named("small")), tmp_path)

    with pytest.raises(UserError, match="was changed after 'addax export'"):
        import_onnx(changed(path, flip))


def test_qcdq_without_a_tensor_is_refused(tmp_path):
    model = qcdq_model(named("small"))
    entry = next(e for e in model.metadata_props if e.key == MODEL_HEADER)
    entry.value = entry.value.replace('"name": "scores"', '"name": "other"')

    with pytest.raises(UserError, match="does not hold a program"):
        import_onnx(saved(model, tmp_path))
