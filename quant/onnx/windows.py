"""Windows of a map in the body of an ONNX function: its frame, and the places of every tap."""

from .body import Body

__all__ = ["framed", "windows"]


def framed(body: Body, x: str, pad: str | None, fill: str | None = None) -> str:
    """``x`` with the frame that ``pads`` says: of ``pad``, a number per channel, or of ``fill``."""
    pads = body.attribute("pads", "value_ints")
    none = body.ints(0, 0)
    begins = body("Slice", pads, body.ints(0), body.ints(2))
    ends = body("Slice", pads, body.ints(2), body.ints(4))
    frame = body("Concat", none, begins, none, ends, axis=0)
    if pad is None:
        assert fill is not None
        return body("Pad", x, frame, fill)
    level = body.channels(pad)
    return body("Add", body("Pad", body("Sub", x, level), frame), level)


def windows(body: Body, x: str, kernel: str, dilations: str | None = None) -> tuple[str, str, str]:
    """(N, C, H, W) to (N, C, kh * kw, rows * columns), and the vectors ``(N,)`` and ``(rows, columns)``.

    ``kernel`` is the vector ``(kh, kw)``, ``dilations`` that of the distances between taps where they are not 1.
    """
    extent = kernel
    if dilations is not None:
        extent = body("Add", body("Mul", body("Sub", kernel, body.ints(1)), dilations), body.ints(1))
    shape = body("Shape", x)
    strides = body.attribute("strides", "value_ints")
    size = body("Slice", shape, body.ints(2), body.ints(4))
    counts = body("Add", body("Div", body("Sub", size, extent), strides), body.ints(1))
    index = None
    for axis in (0, 1):
        position = body.scalar(axis)
        count, taps, stride = (body("Gather", vector, position) for vector in (counts, kernel, strides))
        outer = body("Mul", body("Range", body.scalar(0), count, body.scalar(1)), stride)
        inner = body("Range", body.scalar(0), taps, body.scalar(1))
        if dilations is not None:
            inner = body("Mul", inner, body("Gather", dilations, position))
        # to (kh, kw, rows, columns), 1 where the axis is the other one
        outer = body("Unsqueeze", outer, body.ints(0, 1, 3) if axis == 0 else body.ints(0, 1, 2))
        inner = body("Unsqueeze", inner, body.ints(1, 2, 3) if axis == 0 else body.ints(0, 2, 3))
        place = body("Add", outer, inner)
        index = place if index is None else body("Add", body("Mul", index, body("Gather", size, position)), place)
    assert index is not None
    taps = body("ReduceProd", kernel, keepdims=1)
    index = body("Reshape", index, body("Concat", taps, body.ints(-1), axis=0))
    flat = body("Reshape", x, body.ints(0, 0, -1))
    return body("Gather", flat, index, axis=2), body("Slice", shape, body.ints(0), body.ints(1)), counts
