"""What both readers of ONNX files ask of a graph."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from ..common.errors import UserError

__all__ = ["attributes", "constants_of", "input_shape", "resize_factor", "shuffle_factor", "square"]

_NEAREST = (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil"))
"""Coordinates and their rounding with which a resize by a whole factor repeats pixels."""


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


def shuffle_factor(node: NodeProto) -> int:
    """Of a pixel shuffle in torch's order."""
    given = attributes(node)
    if node.op_type == "DepthToSpace" and given.get("mode", "DCR") != "CRD":
        raise ValueError(f"its mode must be CRD, the order of torch's pixel shuffle, not {given.get('mode', 'DCR')}")
    return int(given["blocksize"])


def resize_factor(node: NodeProto, constants: Mapping[str, NDArray[Any]], size: tuple[int, int] | None = None) -> int:
    """Of a nearest upsampling by one whole number; ``size`` is the height and width before it, where known."""
    given = attributes(node)
    if node.op_type == "Resize":
        mode = given.get("mode", "nearest")
        how = given.get("coordinate_transformation_mode", "half_pixel"), given.get("nearest_mode", "round_prefer_floor")
        if mode != "nearest" or how not in _NEAREST or "axes" in given:
            raise ValueError(
                f"only nearest neighbours (asymmetric, floor) are supported, not {mode} ({', '.join(how)})"
            )
    name = next((name for name in node.input[1:][::-1] if name), "")
    if name not in constants:
        raise ValueError("its scales or sizes must be constant")
    values = constants[name].reshape(-1).tolist()
    if list(node.input).index(name) == 3:
        if size is None:
            raise ValueError("it must name scales, not sizes")
        values = [1, 1, *(new / old for new, old in zip(values[2:], size, strict=True))]
    if len(values) != 4 or values[:2] != [1, 1] or values[2] != values[3] or values[2] != int(values[2]):
        raise ValueError(f"it must enlarge rows and columns by one whole number, not by {values}")
    return int(values[2])
