"""ONNX files of a test: written, and changed in one place."""

import onnx
from onnx import helper


def saved(model, folder):
    onnx.save(model, folder / "network.onnx")
    return folder / "network.onnx"


def changed(path, change):
    """The file with its model changed by ``change``."""
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    return path


def node_of(model, kind):
    return next(node for node in model.graph.node if node.op_type == kind)


def set_attribute(model, kind, name, value):
    node = node_of(model, kind)
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, *([] if value is None else [helper.make_attribute(name, value)])])
