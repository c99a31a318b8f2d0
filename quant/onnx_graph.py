"""What both readers of ONNX files ask of a graph."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from ..common.errors import UserError

__all__ = ["attributes", "constants_of", "input_shape", "square"]


def constants_of(model: ModelProto) -> dict[str, NDArray[Any]]:
    """All initialisers and constants."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = helper.get_attribute_value(node.attribute[0])
            array = numpy_helper.to_array(value) if node.attribute[0].name == "value" else np.array(value)
            found[node.output[0]] = array
    return found


def attributes(node: NodeProto) -> dict[str, Any]:
    """Attributes of a node as plain values."""
    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def input_shape(model: ModelProto, path: Path) -> tuple[str, tuple[int, int, int]]:
    """Name and (C, H, W) of the one input."""
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = [info for info in model.graph.input if info.name not in held]
    if len(inputs) != 1:
        raise UserError(f"{path} must have one input, the images, not {len(inputs)}")
    shape = tuple(dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim)
    if len(shape) != 4 or min(shape[1:]) < 1:
        raise UserError(f"input {inputs[0].name!r} of {path} must be images (N, C, H, W) of known size, not {shape}")
    return inputs[0].name, (shape[1], shape[2], shape[3])


def square(node: NodeProto, name: str, default: int) -> int:
    """An attribute that must be one number in all directions."""
    values = set(attributes(node).get(name) or [default])
    if len(values) != 1:
        raise ValueError(f"{node.op_type} {node.name!r} needs equal {name} in all directions, not {sorted(values)}")
    return int(values.pop())
