"""What all executors of our operations for the qonnx package have in common."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.custom_op.base import CustomOp

__all__ = ["DTYPE", "Attributes", "Ints", "QonnxOperation"]

Ints = NDArray[np.int64]
Attributes = dict[str, tuple[Any, ...]]
DTYPE: Attributes = {"dtype": ("i", True, TensorProto.INT64)}


class QonnxOperation(CustomOp):
    """What all have in common: integers in, `_compute`, integers out in the type that the node names."""

    attributes: ClassVar[Attributes]

    def get_nodeattr_types(self) -> Mapping[str, tuple[Any, ...]]:
        """Attributes of the node, for qonnx."""
        return self.attributes

    def execute_node(self, context: dict[str, NDArray[Any]], graph: GraphProto) -> None:
        """Compute the result of the node from ``context`` into it."""
        result = self._compute(*(context[name].astype(np.int64) for name in self.onnx_node.input))
        context[self.onnx_node.output[0]] = result.astype(helper.tensor_dtype_to_np_dtype(self._dtype()))

    def make_shape_compatible_op(self, model: Any) -> NodeProto:
        """A standard node whose result has the shape of ours: what an element by itself becomes is a cast."""
        return self._like("Cast", to=self._dtype())

    def _like(self, kind: str, inputs: int = 1, **attributes: Any) -> NodeProto:
        """A standard node in the place of ours that reads its first ``inputs`` tensors."""
        return helper.make_node(kind, self.onnx_node.input[:inputs], list(self.onnx_node.output), **attributes)

    def _zeros(self, shape: list[int]) -> NodeProto:
        """A standard node in the place of ours: zeros of the ``shape`` of our result."""
        value = helper.make_tensor("value", self._dtype(), shape, np.zeros(shape).reshape(-1))
        return helper.make_node("Constant", [], list(self.onnx_node.output), value=value)

    def _shape(self, model: Any, position: int = 0) -> list[int]:
        """Shape of the input at ``position``."""
        return list(model.get_tensor_shape(self.onnx_node.input[position]))

    def infer_node_datatype(self, model: Any) -> None:
        """Tell qonnx which integers the result holds."""
        model.set_tensor_datatype(self.onnx_node.output[0], DataType[self._datatype(model)])

    def verify_node(self) -> list[str]:
        """Whether the node has the attributes that it needs."""
        missing = [name for name, (_, needed, *_) in self.attributes.items() if needed and not self._has(name)]
        return [f"{self.onnx_node.name} lacks {', '.join(missing)}"] if missing else ["All necessary attributes exist"]

    def _has(self, name: str) -> bool:
        return any(attribute.name == name for attribute in self.onnx_node.attribute)

    def _compute(self, *inputs: Ints) -> Ints:
        raise NotImplementedError

    def _dtype(self) -> int:
        return int(self.get_nodeattr("dtype"))

    def _datatype(self, model: Any) -> str:
        return "INT32" if self._dtype() == TensorProto.FLOAT else "INT64"
