"""The body of an ONNX function under construction: nodes of standard operations, and names of what lies between."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

__all__ = ["Body"]


class Body:
    """Collects the nodes of a function or of a loop in it, and names what lies between them."""

    def __init__(self, prefix: str = "t"):
        self.prefix = prefix
        self.nodes: list[NodeProto] = []

    def __call__(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; the name of its result."""
        name = f"{self.prefix}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def ints(self, *values: int) -> str:
        """A vector of 64-bit integers."""
        return self("Constant", value_ints=list(values))

    def scalar(self, value: float, kind: int = TensorProto.INT64) -> str:
        """A constant of ``kind`` without dimensions."""
        array = np.array(value, helper.tensor_dtype_to_np_dtype(kind))
        return self("Constant", value=numpy_helper.from_array(array))

    def attribute(self, name: str, field: str = "value_int") -> str:
        """An attribute of the function: ``value_int`` a scalar, ``value_ints`` a vector, ``value_float`` a scalar."""
        return self._referring("Constant", (), field, name)

    def cast(self, value: str, kind: int) -> str:
        """``value`` as another type."""
        return self("Cast", value, to=kind)

    def permuted(self, value: str, name: str) -> str:
        """``value`` with its axes in the order that the attribute ``name`` says."""
        return self._referring("Transpose", (value,), "perm", name)

    def as_declared(self, value: str) -> str:
        """``value`` in the type that the attribute ``dtype`` names."""
        return self._referring("Cast", (value,), "to", "dtype")

    def _referring(self, op: str, inputs: Sequence[str], field: str, name: str) -> str:
        result = self(op, *inputs)
        ints = onnx.AttributeProto.INTS
        kind = {"value_ints": ints, "perm": ints, "value_float": onnx.AttributeProto.FLOAT}
        reference = onnx.AttributeProto(name=field, ref_attr_name=name, type=kind.get(field, onnx.AttributeProto.INT))
        self.nodes[-1].attribute.append(reference)
        return result

    def vector(self, name: str) -> str:
        """An attribute of the function that is one integer, as a vector of it."""
        return self("Unsqueeze", self.attribute(name), self.ints(0))

    def sizes(self, value: str, first: int, behind: int) -> str:
        """The sizes of the axes ``first`` up to before ``behind``, as a vector."""
        return self("Slice", self("Shape", value), self.ints(first), self.ints(behind))

    def floored(self, total: str, divisor: str) -> str:
        """The floor of a quotient: Mod has the sign of the divisor; Div alone would truncate."""
        return self("Div", self("Sub", total, self("Mod", total, divisor)), divisor)

    def power(self, exponent: str) -> str:
        """``1 << exponent``."""
        bit = self("BitShift", self.scalar(1, TensorProto.UINT64), self.cast(exponent, TensorProto.UINT64),
                   direction="LEFT")  # fmt: skip
        return self.cast(bit, TensorProto.INT64)

    def clamped(self, value: str) -> str:
        """``value`` within the attributes ``lo`` and ``hi``, in the type that ``dtype`` names."""
        return self.as_declared(self("Clip", value, self.attribute("lo"), self.attribute("hi")))

    def channels(self, vector: str) -> str:
        """(C,) to (C, 1, 1)."""
        return self("Unsqueeze", vector, self.ints(1, 2))

    def scan(self, over: str, step: "Body", result: str, kind: int, state: str | None = None) -> str:
        """Run ``step`` for every slice of ``over`` along its first axis: its ``result``s stacked, or the last state.

        ``step`` reads the slice as ``slice``, and the state, where there is one, as ``state``.
        """

        def info(name: str) -> Any:
            return helper.make_tensor_value_info(name, kind, None)

        inputs = [info("slice")] if state is None else [info("state"), info("slice")]
        loop = helper.make_graph(step.nodes, "step", inputs, [info(result)])
        given = (over,) if state is None else (state, over)
        return self("Scan", *given, body=loop, num_scan_inputs=1)
