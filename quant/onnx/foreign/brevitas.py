"""Networks of real numbers behind quantisers, as Brevitas, QONNX, FINN and onnxruntime write them, as Programs.

Every quantiser with its scale becomes a grid of integers; what lies between two of them (scales, bias, batch norm,
ReLU, an addition) becomes one requantise, folded as `lower` does. `onnx_reader` says how a graph is held meanwhile, the
modules beside it read one group of operations each.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from ....common.errors import UserError
from ...fold.assembly import Bits, Pending, Stored
from ...program import Convolution, Input, Program
from ..graph import QUANTISER_DOMAINS, attributes, input_of
from .attributes import understood
from .fold import FOLDED, folded
from .products import PRODUCTS
from .quantizers import QUANTIZERS, annotated_format
from .reader import Handler, Reader
from .shapes import ENDINGS, PASSING, SHAPES
from .tensors import Joined, Tensor

__all__ = ["import_float"]

PIXEL_SCALE = 1 / 255
_PAIR = ("QuantizeLinear", "DequantizeLinear")
_MICROSOFT = "com.microsoft"
"""Domain of onnxruntime's own forms of that pair, for other widths."""
_HANDLERS: Mapping[str, Handler] = {
    **QUANTIZERS, **PRODUCTS, **SHAPES, **ENDINGS, "Constant": lambda reader, node, given: None
}  # fmt: skip


def import_float(
    model: ModelProto, path: Path, *, input_scale: float | None = None, input_offset: float | None = None
) -> Program:
    """The Program of a quantised network of real numbers.

    Parameters
    ----------
    input_scale, input_offset : the network reads ``input_scale * pixel + input_offset``; None: what the type or the
        annotation of the file's input says, else 1/255 and 0

    Raises
    ------
    UserError
        for an operation that no Program has, or a tensor without a quantiser where one is needed, by its node.
    """
    try:
        walk = _Walk(model, path)
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    walk.begin(input_scale, input_offset)
    return walk.program()


class _Walk(Reader):
    """One walk over the graph."""

    def begin(self, scale: float | None, offset: float | None) -> None:
        """The pixels, and what the network makes of them."""
        for what, number in (("scale", scale), ("offset", offset)):
            if (number is not None and not math.isfinite(number)) or (what == "scale" and number == 0):
                raise UserError(f"the input's {what} must be a finite number, a scale not 0; not {number}")
        info, dims = input_of(self.model, self.path)
        shape = dims[1:]
        if len(dims) not in (2, 3, 4) or min(shape) < 1:
            raise UserError(
                f"input {info.name!r} of {self.path} must be images (N, C, H, W) of known size, lines (N, C, L) or "
                f"numbers (N, F), not {dims}"
            )
        self.batch = max(dims[0], 1)
        found_scale, found_offset = self._pixels(info.name, info.type.tensor_type.elem_type)
        self.input_said = scale is not None or offset is not None or (found_scale, found_offset) != (PIXEL_SCALE, 0.0)
        scale = found_scale if scale is None else float(scale)
        offset = found_offset if offset is None else float(offset)
        order = None
        if len(shape) == 3 and self._channels_last(info.name):
            held = (shape[2], shape[0], shape[1])
            order = np.arange(math.prod(shape)).reshape(held).transpose(1, 2, 0)
        else:
            held = {1: (shape[0], 1, 1), 2: (shape[0], 1, shape[-1]), 3: shape}[len(shape)]  # type: ignore[assignment]
        name = self.emit(Input(name="pixels", shape=held), scale)
        value: Stored | Pending = Stored(op=name, step=scale)
        if offset:
            waiting = self.pending_of(Stored(op=name, step=scale))
            value = Pending(op=name, gain=waiting.gain, centre=waiting.centre, bias=waiting.bias + offset)
        if self.input_said:
            self.note(f"the network reads {scale:.9g} * pixel {'-' if offset < 0 else '+'} {abs(offset):.9g}")
        self.tensors[info.name] = Tensor(value=value, shape=shape, order=order)

    def _pixels(self, name: str, kind: int) -> tuple[float, float]:
        """Scale and offset of pixels that the file itself tells."""
        if kind == TensorProto.UINT8:
            return 1.0, 0.0
        if kind == TensorProto.INT8:
            return 1.0, -128.0
        said = self.annotated.get(name, "")
        if said == "BIPOLAR":
            return 2.0, -1.0
        if said in ("BINARY", "TERNARY"):
            return 1.0, -1.0 if said == "TERNARY" else 0.0
        try:
            return 1.0, float(annotated_format(said).lo)
        except ValueError:
            return PIXEL_SCALE, 0.0

    def _channels_last(self, name: str) -> bool:
        """Whether all that reads the input brings its channels to the front first."""
        readers = [node for node in self.model.graph.node if name in node.input]
        return bool(readers) and all(
            node.op_type == "Transpose" and list(attributes(node).get("perm", [])) == [0, 3, 1, 2] for node in readers
        )

    def program(self) -> Program:
        """Walk, and check what came out."""
        for node in self.model.graph.node:
            where = f"node {node.name or next(iter(node.output), '')!r} of {self.path}"
            try:
                if not self._compute(node):
                    self._read(node, where)
            except ValueError as error:
                raise UserError(f"{node.op_type} at {where}: {error}") from error
            except (KeyError, IndexError) as error:
                raise UserError(f"{node.op_type} at {where} lacks {error}") from error
        try:
            return self._finished()
        except ValueError as error:
            raise UserError(f"{self.path} does not make a program: {error}") from error

    def _read(self, node: NodeProto, where: str) -> None:
        standard = node.domain in ("", "ai.onnx")
        own = node.op_type in QUANTIZERS and node.op_type not in _PAIR and node.domain in QUANTISER_DOMAINS
        pair = node.op_type in _PAIR and (standard or node.domain == _MICROSOFT)
        known = own or pair or (node.op_type in _HANDLERS and (standard or node.domain in QUANTISER_DOMAINS))
        if not known:
            kind = f"{node.domain}.{node.op_type}".lstrip(".")
            raise UserError(f"unsupported ONNX operation {kind} at {where}; supported: {', '.join(_HANDLERS)}")
        given = understood(node)
        behind = self.tensors.get(node.input[0]) if node.input else None
        if isinstance(behind, Tensor) and behind.ended and node.op_type in PASSING:
            self.tensors[node.output[0]] = behind
            return
        _HANDLERS[node.op_type](self, node, given)

    # Constants

    def _compute(self, node: NodeProto) -> bool:
        """Whether ``node`` makes a constant of constants, which is then known."""
        if node.op_type not in FOLDED or node.domain not in ("", "ai.onnx") or not node.input:
            return False
        if node.op_type in ("Shape", "Size") and isinstance(found := self.tensors.get(node.input[0]), Tensor):
            whole = np.broadcast_to(np.zeros(()), (self.batch, *found.shape))
            self.constants[node.output[0]] = folded(node, [whole])
            return True
        if not all(self.is_constant(name) for name in node.input if name):
            return False
        if self._rescaled(node):
            return True
        self.constants[node.output[0]] = folded(node, [self.constant(name) for name in node.input if name])
        return True

    def _rescaled(self, node: NodeProto) -> bool:
        """Keep quantised weights that are moved or multiplied as integers and a scale."""
        held = self.quantised.get(node.input[0])
        if held is None:
            return False
        made = node.output[0]
        if node.op_type in ("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze"):
            rest = [self.constant(name) for name in node.input[1:]]
            self.quantised[made] = held.changed(lambda values: folded(node, [values, *rest]))
            return True
        if node.op_type in ("Mul", "Div") and len(node.input) == 2:
            factor = np.asarray(self.constant(node.input[1]), np.float64)
            shape = np.broadcast_shapes(held.scale.shape, factor.shape)
            if shape == held.integers.shape and np.all(factor > 0) and np.all(np.isfinite(factor)):
                scale = held.scale * factor if node.op_type == "Mul" else held.scale / factor
                self.quantised[made] = type(held)(integers=held.integers, scale=scale, format=held.format)
                return True
        return False

    # The end

    def _finished(self) -> Program:
        outputs = [info.name for info in self.model.graph.output]
        found = [self.tensors.get(name) for name in outputs]
        one = bool(found) and all(isinstance(entry, Tensor) and entry.ended for entry in found)
        if not (len(outputs) == 1 or one) or any(not isinstance(entry, Tensor | Joined) for entry in found):
            raise ValueError(f"it must have one output, the class scores or a map, not {', '.join(outputs)}")
        tensor = found[0] if isinstance(found[0], Tensor) else self.tensor(outputs[0])
        if any(isinstance(entry, Tensor) and entry.op != tensor.op for entry in found):
            raise ValueError(f"it must have one output, the class scores or a map, not {', '.join(outputs)}")
        self._end(tensor, outputs[0])
        convolutions = [op for op in self.ops.values() if isinstance(op, Convolution)]
        metadata = {
            "network": self.path.stem,
            "kernel": "+".join(sorted({op.kernel for op in convolutions})) or "none",
            "bits": str(max((op.weight_format.bits for op in convolutions), default=8)),
            "source": self.path.name,
        }
        return self.assembled(metadata)

    def _end(self, tensor: Tensor, name: str) -> None:
        channels, height, width = self.map_of(tensor)
        if tensor.order is not None:
            raise ValueError(f"its output {name!r} is transposed; it must be scores (N, classes) or a map (N, C, H, W)")
        joined = isinstance(tensor.value, Pending) and tensor.value.residual is not None
        waits = tensor.limited or bool(tensor.pools) or joined
        if (height, width) == (1, 1) and not waits:
            value = tensor.value
            if isinstance(value, Bits):
                value = self.numbers_of(value)  # -1 and +1, as the file has them
            if channels == 1 and isinstance(value, Stored):
                self.ending(value.op)
            else:
                made = self.scores(value if isinstance(value, Pending) else self.pending_of(value))
                if channels == 1:
                    self.ending(made.op)
            if channels == 1:
                self.note("the network has one output: the program gives its number, not a class")
        elif isinstance(tensor.value, Pending) and not waits and not self.is_sums(tensor):
            self.ending(self.shifted(tensor, name).op)
        elif isinstance(tensor.value, Pending) or waits:
            shown = "a ReLU, an addition" if (height, width) == (1, 1) else f"a map of {height}x{width}"
            raise ValueError(f"its output is {shown}, not one score per class: it needs a quantiser in front")
        else:
            self.ending(tensor.value.op)
