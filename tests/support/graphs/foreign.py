"""ONNX graphs as other tools write them, by hand and at random, and what qonnx makes of them."""

import warnings

import numpy as np
import onnx
from addax.quant import golden
from addax.quant.onnx.read import import_onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["Foreign", "compared", "in_qonnx", "pixels_for", "random_network"]

QONNX = "qonnx.custom_op.general"
_CUSTOM = ("Quant", "IntQuant", "BipolarQuant", "Trunc", "MultiThreshold")


class Foreign:
    """A graph under construction; every method returns the name of the tensor that it makes."""

    def __init__(self, shape, *, opset=18, domain=QONNX, kind=TensorProto.FLOAT):
        self.shape, self.opset, self.domain, self.kind = tuple(shape), opset, domain, kind
        self.nodes, self.constants, self.annotations, self.imported = [], [], {}, True

    def constant(self, value, *, dtype=np.float32):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def sizes(self, value):
        return self.constant(value, dtype=np.int64)

    def node(self, kind, *inputs, outputs=1, **given):
        names = [f"t{len(self.nodes)}" + ("" if k == 0 else f"_{k}") for k in range(outputs)]
        domain = given.pop("domain", self.domain if kind in _CUSTOM else "")
        name = given.pop("name", f"{kind.lower()}_{len(self.nodes)}")
        self.nodes.append(helper.make_node(kind, inputs, names, name=name, domain=domain, **given))
        return names[0]

    def quant(self, x, scale, bits=8, *, zero=0.0, signed=0, narrow=0, rounding="ROUND"):
        given = [self.constant(value) for value in (scale, zero, bits)]
        return self.node("Quant", x, *given, signed=signed, narrow=narrow, rounding_mode=rounding)

    def pair(self, x, scale, zero=0, *, dtype=np.uint8, axis=None, limits=None):
        """QuantizeLinear, perhaps a Clip, and DequantizeLinear."""
        given = [self.constant(scale), self.constant(zero, dtype=dtype)]
        on = {} if axis is None else {"axis": axis}
        words = self.node("QuantizeLinear", x, *given, **on)
        if limits is not None:
            words = self.node("Clip", words, *(self.constant(limit, dtype=dtype) for limit in limits))
        return self.node("DequantizeLinear", words, *given, **on)

    def weights(self, rng, shape, scale=0.1, bits=4):
        words = rng.integers(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1), shape)
        return self.quant(self.constant(words * np.asarray(scale)), scale, bits, signed=1, narrow=1)

    def model(self, output, shape):
        graph = helper.make_graph(
            self.nodes, "made", [helper.make_tensor_value_info("x", self.kind, [1, *self.shape])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, *shape])], self.constants,
        )  # fmt: skip
        for name, kind in self.annotations.items():
            entry = graph.quantization_annotation.add()
            entry.tensor_name = name
            pair = entry.quant_parameter_tensor_names.add()
            pair.key, pair.value = "finn_datatype", kind
        versions = {"": self.opset, "com.microsoft": 1} | ({self.domain: 1} if self.imported else {})
        imports = [helper.make_opsetid(*entry) for entry in versions.items()]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)

    def saved(self, folder, output, shape, name="made.onnx"):
        path = folder / name
        onnx.save(self.model(output, shape), path)
        return path


def pixels_for(shape, count=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def in_qonnx(path, values):
    """What qonnx's own executor makes of (N, ...) numbers, image by image."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about shapes of scalars
        model = ModelWrapper(str(path)).transform(InferShapes())
        held = {tensor.name for tensor in model.graph.initializer}
        name = next(info.name for info in model.graph.input if info.name not in held)
        output, shape = model.graph.output[0].name, model.get_tensor_shape(name)
        return np.concatenate([execute_onnx(model, {name: value.reshape(shape)})[output] for value in values])


def compared(path, *, count=8, pixels=None, scale=None, offset=0.0, **said):
    """The Program of ``path``, its results in the real numbers of the file, and qonnx's, all (N, elements)."""
    program = import_onnx(path, **said)
    if pixels is None:
        pixels = pixels_for(program.input.shape, count)
    real = pixels.astype(np.float32)
    real = real / np.float32(255) if scale is None else real * np.float32(scale) + np.float32(offset)
    found, expected = golden.run(program, pixels).output, in_qonnx(path, real)
    if program.output in program.steps:
        found = found * program.steps[program.output]
    else:
        found = (2 * found - 1) * np.abs(expected).max()  # raw bits
    assert found.size == expected.size
    return program, found.reshape(len(pixels), -1), expected.reshape(len(pixels), -1)


# Random networks


class _Draw:
    """A random network: each step adds what a Program can say, and keeps what the next may read."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        axes = self.choose([3, 3, 3, 3, 2, 1])
        sizes = {3: (self.pick(1, 3), self.pick(5, 8), self.pick(5, 8)), 2: (self.pick(1, 3), self.pick(6, 12)),
                 1: (self.pick(4, 12),)}  # fmt: skip
        self.g = Foreign(sizes[axes], opset=self.choose([13, 18]))
        self.x, self.shape, self.rms = "x", sizes[axes], 0.6
        self.taken: list[str] = []

    def pick(self, lo, hi):
        return int(self.rng.integers(lo, hi + 1))

    def choose(self, options):
        return options[int(self.rng.integers(len(options)))]

    def maybe(self, chance=0.5):
        return bool(self.rng.random() < chance)

    def number(self, lo=0.3, hi=1.7):
        """One that is no short binary fraction: a tie is then no matter of chance."""
        return float(np.float32(self.rng.uniform(lo, hi)))

    def along(self, values):
        """A constant per channel, in one of the shapes that ONNX aligns with channels."""
        tail = (1,) * (len(self.shape) - 1)
        return self.g.constant(np.reshape(values, self.choose([(-1, *tail), (1, -1, *tail)])))

    def _affine(self, *, falling):
        channels = self.shape[0]
        factor = self.rng.uniform(0.5, 1.5, channels if self.maybe() else 1)
        if falling and self.maybe(0.4):
            factor = factor * self.rng.choice([-1, 1], factor.shape)
        kind = self.choose(["Mul", "Div", "Add", "Sub", "from", "BatchNormalization"])
        if kind == "BatchNormalization":
            parts = [self.rng.uniform(0.5, 1.5, channels), self.rng.normal(0, 0.3, channels) * self.rms,
                     self.rng.normal(0, 0.3, channels) * self.rms, self.rng.uniform(0.5, 1.5, channels)]  # fmt: skip
            if falling:
                parts[0] *= self.rng.choice([-1, 1], channels)
            self.x = self.g.node("BatchNormalization", self.x, *(self.g.constant(part) for part in parts))
        elif kind in ("Mul", "Div"):
            self.x = self.g.node(kind, self.x, self.along(factor) if factor.size > 1 else self.g.constant(factor))
        else:
            moved = self.rng.normal(0, 0.3, channels) * self.rms
            inputs = (self.x, self.along(moved))
            swapped = kind == "from" and falling
            self.x = self.g.node("Sub" if kind != "Add" else kind, *(inputs[::-1] if swapped else inputs))

    def _signs(self):
        # A sum that is exactly 0 in integers is not in float32: its sign would be a matter of chance.
        moved = self.g.node("Add", self.x, self.g.constant(self.rms * self.number() / 7))
        self.rms = self.number()
        self.x = self.g.node("BipolarQuant", moved, self.g.constant(self.rms))

    def _quantiser(self):
        kinds = ["Quant"] * 4 + ["pair", "BipolarQuant", "MultiThreshold"]
        kind, bits = self.choose(kinds), self.pick(3, 8)
        if kind == "BipolarQuant":
            self._signs()
            return
        if kind == "MultiThreshold":
            rows = self.choose([1, self.shape[0]])
            levels = np.sort(self.rng.normal(0, self.rms, (rows, self.pick(2, 7))), axis=1)
            scale = self.number()
            layout = {} if len(self.shape) != 2 else {"data_layout": "NCW"}
            bias = self.choose([0.0, -scale * 2])
            self.x = self.g.node("MultiThreshold", self.x, self.g.constant(levels), out_dtype="UINT4", out_scale=scale,
                                 out_bias=bias, **layout)  # fmt: skip
            self.rms = 2 * scale
            return
        signed = self.pick(0, 1)
        step = self.rms * self.number(2, 4) / 2**bits
        if kind == "pair":
            dtype = np.int8 if signed else np.uint8
            step, zero = self.rms * self.number(2, 4) / 256, self.choose([0, 0, 17])
            limits = self.choose([None, (-7, 7) if signed else (0, 15)])
            self.x = self.g.pair(
                self.x, step * (16 if limits else 1), 0 if limits else zero, dtype=dtype, limits=limits
            )
            return
        zero = self.choose([0, 0, 0, 3])
        self.x = self.g.quant(self.x, step, bits, zero=zero, signed=signed, narrow=self.pick(0, 1))

    def _weights(self, shape):
        outputs, bits = shape[0], self.pick(2, 5)
        scale = (
            self.rng.uniform(0.05, 0.2, (outputs, *[1] * (len(shape) - 1))) if self.maybe() else self.number(0.05, 0.2)
        )
        self.rms *= float(np.mean(scale)) * 2 ** (bits - 1) * 0.5 * np.sqrt(np.prod(shape[1:]))
        kind = self.choose(["Quant", "Quant", "BipolarQuant", "words"])
        values = self.g.constant(self.rng.normal(0, np.asarray(scale) * 2 ** (bits - 2), shape))
        if kind == "BipolarQuant":
            self.rms /= 2 ** (bits - 2)
            return self.g.node("BipolarQuant", values, self.g.constant(scale))
        if kind == "words":
            words = self.g.constant(self.rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape), dtype=np.int8)
            steps = np.broadcast_to(scale, (outputs, *[1] * (len(shape) - 1))).reshape(-1)
            zeros = self.g.constant(np.zeros(outputs), dtype=np.int8)
            return self.g.node("DequantizeLinear", words, self.g.constant(steps), zeros, axis=0)
        return self.g.quant(values, scale, bits, signed=1, narrow=self.pick(0, 1))

    def _conv(self):
        axes, channels = len(self.shape) - 1, self.shape[0]
        groups = channels if self.maybe(0.3) else 1
        outputs = groups * self.pick(1, 4)
        kernel = [self.pick(1, min(3, size)) for size in self.shape[1:]]
        given = {"strides": [self.choose([1, 1, 2])] * axes, "group": groups}
        if self.maybe(0.2) and min(self.shape[1:]) > 4:
            given["dilations"] = [2] * axes
        extent = [(k - 1) * given.get("dilations", [1])[0] + 1 for k in kernel]
        # onnxruntime, which qonnx asks, has no automatic padding of a dilated kernel.
        automatic = [] if "dilations" in given else ["SAME_UPPER", "SAME_LOWER", "VALID"]
        how = self.choose(["none", "pads", "pads", *automatic])
        pads = [0] * 2 * axes
        if how == "pads":
            pads = given["pads"] = [self.pick(0, max(k - 1, 0)) for k in kernel * 2]
        elif how != "none":
            given["auto_pad"] = how
        sizes = []
        for k in range(axes):
            stride, size = given["strides"][k], self.shape[k + 1]
            same = -(-size // stride)
            sizes.append(same if "SAME" in how else (size + pads[k] + pads[k + axes] - extent[k]) // stride + 1)
        weights = self._weights((outputs, channels // groups, *kernel))
        bias = [self.g.constant(self.rng.normal(0, 0.3, outputs) * self.rms)] if self.maybe() else []
        self.x = self.g.node("Conv", self.x, weights, *bias, **given)
        self.shape = (outputs, *sizes)

    def _max_pool(self):
        axes = len(self.shape) - 1
        size, stride = self.pick(2, 3), self.pick(1, 2)
        if min(self.shape[1:]) < 4:
            return
        how, ceil = self.choose(["none", "pads", "SAME_UPPER", "SAME_LOWER"]), self.pick(0, 1)
        given = {"kernel_shape": [size] * axes, "strides": [stride] * axes}
        pad = 0
        if how == "pads":
            pad, given["pads"] = 1, [1] * 2 * axes
        if "SAME" in how:
            given["auto_pad"], ceil = how, 0
        sizes = []
        # A window that would begin behind the image: onnx' shapes count it, runtimes do not.
        if any(-(-(n + 2 * pad - size) // stride) * stride >= n + pad for n in self.shape[1:]):
            ceil = 0
        for n in self.shape[1:]:
            made = -(-(n + 2 * pad - size) // stride) + 1 if ceil else (n + 2 * pad - size) // stride + 1
            sizes.append(-(-n // stride) if "SAME" in how else made)
        self.x = self.g.node("MaxPool", self.x, ceil_mode=ceil, **given)
        self.shape = (self.shape[0], *sizes)

    def _mean(self):
        axes = len(self.shape) - 1
        if min(self.shape[1:]) < 3 or self.maybe(0.3):
            self.x = self.g.node("GlobalAveragePool", self.x)
            self.shape = (self.shape[0], *[1] * axes)
        else:
            size = [self.pick(1, 3) for _ in range(axes)]
            pads = self.choose([0, 1]) if min(size) > 1 else 0
            counts = {"pads": [pads] * 2 * axes, "count_include_pad": 1} if pads else {}
            self.x = self.g.node("AveragePool", self.x, kernel_shape=size, strides=[2] * axes, **counts)
            sizes = [(n + 2 * pads - k) // 2 + 1 for n, k in zip(self.shape[1:], size, strict=True)]
            self.shape = (self.shape[0], *sizes)
        self.rms *= 0.7

    def _joined(self):
        """A residual, or channels side by side, with what another quantiser makes of the same."""
        other, rms = self.x, self.rms
        channels = self.shape[0]
        kept = self.shape
        weights = self._weights((channels, channels, *[1] * (len(self.shape) - 1)))
        self.x = self.g.node("Conv", self.x, weights)
        if self.maybe():
            self.x = self.g.node(self.choose(["Add", "Sub"]), *((self.x, other) if self.maybe() else (other, self.x)))
            self.rms = float(np.hypot(rms, self.rms))
        else:
            self.x = self.g.node("Concat", self.x, other, axis=self.choose([1, -len(kept)]))
            self.shape, self.rms = (2 * channels, *kept[1:]), max(rms, self.rms)

    def _moved(self):
        """Pixels moved or repeated, or an order of axes and back."""
        if len(self.shape) != 3:
            return
        channels, height, width = self.shape
        if self.maybe():
            back = self.g.node("Transpose", self.x, perm=[0, 2, 3, 1])
            self.x = self.g.node("Transpose", back, perm=[0, 3, 1, 2])
        elif channels % 4 == 0:
            self.x = self.g.node("DepthToSpace", self.x, blocksize=2, mode="CRD")
            self.shape = (channels // 4, 2 * height, 2 * width)
        elif height * width < 50:
            how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            self.x = self.g.node("Resize", self.x, "", self.g.constant([1, 1, 2, 2]), mode="nearest", **how)
            self.shape = (channels, 2 * height, 2 * width)

    def _between(self, *, sums):
        """What stands between sums and the next quantiser."""
        for _ in range(self.pick(0, 2)):
            self._affine(falling=True)
        pools = len(self.shape) > 1 and sums and self.maybe(0.4)
        if pools:
            self._max_pool()
            if self.maybe(0.5):
                self._affine(falling=True)
        if self.maybe(0.3):
            self.x = self.g.node("Relu", self.x)
            return "limited"
        if self.maybe(0.2):
            self.x = self.g.node("Clip", self.x, self.g.constant(-self.rms), self.g.constant(self.rms * 0.9))
        return ""

    def _settle(self, limited):
        if not limited:
            self._quantiser()
        elif limited == "joined" and self.g.nodes[-1].op_type != "Concat" and self.maybe(0.3):
            self._signs()
        else:
            step = self.rms * self.number(2, 4) / 64
            self.x = self.g.quant(self.x, step, self.pick(4, 7), signed=self.pick(0, 1))

    def _flatten(self):
        features = int(np.prod(self.shape))
        kind = self.choose(["Flatten", "Reshape", "transposed"])
        if kind == "transposed" and len(self.shape) == 3:
            self.x = self.g.node("Transpose", self.x, perm=[0, 2, 3, 1])
        if kind == "Flatten":
            self.x = self.g.node("Flatten", self.x, axis=1)
        else:
            self.x = self.g.node("Reshape", self.x, self.g.sizes(self.choose([[1, -1], [0, -1], [-1, features]])))
        self.shape = (features,)

    def _dense(self):
        outputs, features = self.pick(2, 6), self.shape[0]
        if self.maybe():
            given = {"alpha": self.choose([1.0, 0.5]), "beta": self.choose([1.0, 2.0]), "transB": 1}
            bias = self.g.constant(np.reshape(self.rng.normal(0, 0.2, outputs) * self.rms,
                                              self.choose([(-1,), (1, -1)])))  # fmt: skip
            self.x = self.g.node("Gemm", self.x, self._weights((outputs, features)), bias, **given)
        else:
            transposed = self.g.node("Transpose", self._weights((outputs, features)), perm=[1, 0])
            self.x = self.g.node("MatMul", self.x, transposed)
        self.shape = (outputs,)

    def network(self):
        if len(self.shape) > 1 and self.maybe(0.15):
            self._flatten()
        if self.maybe(0.4):
            self._affine(falling=False)
        step = float(np.float32(1 / 255)) if self.maybe(0.3) else self.number(0.01, 0.05)
        self.x = self.g.quant(self.x, step, self.pick(5, 8), signed=self.pick(0, 1))
        for _ in range(self.pick(1, 3) if len(self.shape) > 1 else 0):
            step = self.choose([self._conv, self._conv, self._joined, self._mean, self._max_pool, self._moved])
            if step == self._conv:
                step()
                limited = self._between(sums=True)
            elif step in (self._max_pool, self._moved):
                step()
                continue
            else:
                step()
                limited = "joined" if step == self._joined else ""
            self._settle(limited)
        if len(self.shape) > 1 and self.maybe(0.7):
            self._flatten()
        for _ in range(self.pick(1, 2) if len(self.shape) == 1 else 0):
            self._dense()
            self._settle(self._between(sums=True))
        return self.g, self.x, self.shape


def random_network(seed):
    """A graph, its output and the shape of that, of all that can be read, at random."""
    return _Draw(seed).network()
