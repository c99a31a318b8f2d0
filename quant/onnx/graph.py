"""What both readers of ONNX files ask of a graph."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from ...common.errors import UserError
from ...common.reading import read_regular
from .functions import QONNX

__all__ = [
    "QUANTISER_DOMAINS", "attributes", "constants_of", "datatypes", "input_of", "input_shape", "load_model",
    "numbers", "resize_factor", "shuffle_factor",
]  # fmt: skip

QUANTISER_DOMAINS = (QONNX, "onnx.brevitas", "finn.custom_op.general")
"""Domains under which the quantisers of QONNX are found in files."""
_STANDARD_DOMAINS = ("", "ai.onnx")
_NEAREST = (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil"))
"""Coordinates and their rounding with which a resize by a whole factor repeats pixels."""


def load_model(path: Path) -> ModelProto:
    """The ONNX file at ``path``, checked; an operator set that its own tools leave out is named.

    Raises
    ------
    UserError
        for a file that is missing, broken, or leaves its tensors to other files.
    """
    if not path.exists():
        raise UserError(f"no file at {path}; expected an ONNX file")
    try:
        model = onnx.load_model_from_string(read_regular(path))
        _check_within(model)
        _import_domains(model)
        onnx.checker.check_model(model)
    except (DecodeError, OSError, ValueError, onnx.checker.ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else next(iter(str(error).strip().splitlines()), "empty")
        raise UserError(f"{path} is not an ONNX file, or a broken one: {reason}") from error
    if not model.graph.node:
        raise UserError(f"{path} is not an ONNX file, or a broken one: it has no nodes")
    return model


def _check_within(model: ModelProto) -> None:
    """Raise ``ValueError`` for tensors that stand in other files: no path is opened because a file names it."""
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            raise ValueError(f"tensor {tensor.name!r} stands in another file; save the model with its data inside")


def _import_domains(model: ModelProto) -> None:
    """Name the operator sets that nodes use and the file forgets, as those of Brevitas before 2022 and of FINN do; the
    checker takes a file without them for a broken one."""
    named = {entry.domain for entry in model.opset_import}
    for domain in dict.fromkeys(node.domain for node in model.graph.node):
        if domain not in named and domain not in _STANDARD_DOMAINS:
            model.opset_import.append(helper.make_opsetid(domain, 1))


def constants_of(model: ModelProto) -> dict[str, NDArray[Any]]:
    """All initialisers and constants.

    Raises
    ------
    ValueError
        for one that has a type or a form that numpy cannot hold, by name.
    """
    found = {tensor.name: _array(tensor, f"initialiser {tensor.name!r}") for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.domain in _STANDARD_DOMAINS:
            what = f"constant {node.output[0]!r}" if node.output else "a constant"
            if len(node.attribute) != 1 or not node.output:
                raise ValueError(f"{what} must have one attribute, its value, not {len(node.attribute)}")
            value = helper.get_attribute_value(node.attribute[0])
            found[node.output[0]] = _array(value, what) if isinstance(value, TensorProto) else np.array(value)
    return found


def _array(tensor: TensorProto, what: str) -> NDArray[Any]:
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{what} has data type {tensor.data_type} and cannot be read: {error}") from error


def datatypes(model: ModelProto) -> dict[str, str]:
    """What integers tensors hold by the annotations of QONNX and FINN, such as ``INT4`` or ``BIPOLAR``."""
    return {
        entry.tensor_name: pair.value
        for entry in model.graph.quantization_annotation
        for pair in entry.quant_parameter_tensor_names
        if pair.key in ("finn_datatype", "qonnx_datatype")
    }


def attributes(node: NodeProto) -> dict[str, Any]:
    """Attributes of a node as plain values; raises ``ValueError`` for one without a value."""
    try:
        values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    except ValueError as error:
        raise ValueError(f"an attribute cannot be read: {error}") from error
    return {name: value.decode(errors="replace") if isinstance(value, bytes) else value
            for name, value in values.items()}  # fmt: skip


def input_of(model: ModelProto, path: Path) -> tuple[ValueInfoProto, tuple[int, ...]]:
    """The one input, and its shape, 0 where it is not known; raises `UserError` for several."""
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = [info for info in model.graph.input if info.name not in held]
    if len(inputs) != 1:
        raise UserError(f"{path} must have one input, the images, not {len(inputs)}")
    return inputs[0], tuple(dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim)


def input_shape(model: ModelProto, path: Path) -> tuple[str, tuple[int, int, int]]:
    """Name and (C, H, W) of the one input."""
    found, shape = input_of(model, path)
    if len(shape) != 4 or min(shape[1:]) < 1:
        raise UserError(f"input {found.name!r} of {path} must be images (N, C, H, W) of known size, not {shape}")
    return found.name, (shape[1], shape[2], shape[3])


def numbers(node: NodeProto, name: str, default: int, count: int) -> tuple[int, ...]:
    """An attribute of ``count`` numbers, each ``default`` where the node does not have it."""
    given = tuple(int(value) for value in attributes(node).get(name) or [default] * count)
    if len(given) != count:
        raise ValueError(f"{node.op_type} {node.name!r} needs {count} {name}, not {list(given)}")
    return given


def shuffle_factor(node: NodeProto) -> int:
    """The factor of a pixel shuffle in torch's order."""
    given = attributes(node)
    if node.op_type == "DepthToSpace" and given.get("mode", "DCR") != "CRD":
        raise ValueError(f"its mode must be CRD, the order of torch's pixel shuffle, not {given.get('mode', 'DCR')}")
    return int(given["blocksize"])


def resize_factor(node: NodeProto, constants: Mapping[str, NDArray[Any]], size: tuple[int, int] | None = None) -> int:
    """The whole factor of a nearest upsampling; ``size`` is the height and width before it, where known."""
    given = attributes(node)
    if node.op_type == "Resize":
        # Before operator set 11 the coordinates were asymmetric and rounded down; the node then has two inputs.
        default = ("half_pixel", "round_prefer_floor") if len(node.input) > 2 else ("asymmetric", "floor")
        mode = given.get("mode", "nearest")
        how = (
            given.get("coordinate_transformation_mode", default[0]),
            given.get("nearest_mode", default[1]),
        )
        if mode != "nearest" or how not in _NEAREST or "axes" in given:
            raise ValueError(
                f"only nearest neighbours (asymmetric, floor) are supported, not {mode} ({', '.join(how)})"
            )
    elif node.op_type == "Upsample" and given.get("mode", "nearest") != "nearest":
        raise ValueError(f"only nearest neighbours are supported, not {given['mode']}")
    if "scales" in given:
        values = list(given["scales"])
    else:
        name = next((name for name in node.input[1:][::-1] if name), "")
        if name not in constants:
            raise ValueError("its scales or sizes must be constant")
        values = constants[name].reshape(-1).tolist()
        if list(node.input).index(name) == 3:
            if size is None or len(values) != 4:
                raise ValueError("it must name scales, not sizes")
            values = [1, 1, *(new / old for new, old in zip(values[2:], size, strict=True))]
    if len(values) != 4 or values[:2] != [1, 1] or values[2] != values[3] or values[2] != int(values[2]):
        raise ValueError(f"it must enlarge rows and columns by one whole number, not by {values}")
    return int(values[2])
