"""The adder convolution's kernels in Triton, for GPUs; its interpreter runs them without one (``TRITON_INTERPRET=1``).

A program computes a tile of the result, pixels x channels, in registers while all taps and channels pass: no patches
are made. Tiles have four axes, (pixel, channel, pixel, channel) of sizes (RP, RC, TP, TC), since Triton gives the last
axes to threads first: with TP * TC threads, RP < TC and RC < TP, a thread holds RP pixels x RC channels, and loads
RP + RC numbers for RP * RC terms. What the parameters are, `gpu.GpuBackEnd` says.
"""

import triton
import triton.language as tl

__all__ = ["adder_features", "adder_forward", "byte_distances"]

jit = triton.jit
_SIZES = [
    "images", "height", "width", "rows", "columns", "kernel_rows", "kernel_columns", "down", "right", "top", "left",
    "dilation_rows", "dilation_columns",
]  # fmt: skip


@jit
def _pixels(RP: tl.constexpr, TP: tl.constexpr):
    """Numbers of this program's pixels, (RP, 1, TP, 1): those of a warp lie side by side."""
    own = tl.arange(0, RP)[:, None] * TP + tl.arange(0, TP)[None, :]
    return tl.program_id(0) * (RP * TP) + own[:, None, :, None]


@jit
def _channels(block, RC: tl.constexpr, TC: tl.constexpr):
    """Numbers of a block of channels, (1, RC, 1, TC)."""
    own = tl.arange(0, RC)[:, None] * TC + tl.arange(0, TC)[None, :]
    return block * (RC * TC) + own[None, :, None, :]


@jit(do_not_specialize=[*_SIZES, *(f"{t}_{s}" for t in ("x", "y") for s in ("image", "channel", "row", "column"))])
def adder_forward(
    x, w, bias, y,
    images, height, width, rows, columns, kernel_rows, kernel_columns,
    down, right, top, left, dilation_rows, dilation_columns,
    x_image, x_row, x_column, y_image, y_channel, y_row, y_column,
    INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, PITCH: tl.constexpr, STEP: tl.constexpr, BIAS: tl.constexpr,
    RP: tl.constexpr, RC: tl.constexpr, TP: tl.constexpr, TC: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """``y = bias - sum |x - w|`` for pixels of the result and filters of one group, w as [group][tap][input][PITCH]."""
    blocks: tl.constexpr = PITCH // (RC * TC)
    group = tl.program_id(1) // blocks
    pixel, filters = _pixels(RP, TP), _channels(tl.program_id(1) % blocks, RC, TC)
    live = pixel < images * rows * columns
    column, row = pixel % columns, pixel // columns % rows
    image = (pixel // columns // rows).to(tl.int64)
    x_of_image = x + image * x_image + group * INPUTS * STEP
    w_of_group = w + group * (kernel_rows * kernel_columns * INPUTS * PITCH) + filters
    sums = tl.full((RP, RC, TP, TC), 0.0, tl.float32)
    for ky in range(kernel_rows):
        r = row * down - top + ky * dilation_rows
        for kx in range(kernel_columns):
            c = column * right - left + kx * dilation_columns
            inside = live & (r >= 0) & (r < height) & (c >= 0) & (c < width)
            seen = x_of_image + (r * x_row + c * x_column)
            held = w_of_group + (ky * kernel_columns + kx) * (INPUTS * PITCH)
            for _ in range(0, INPUTS, UNROLL):
                for u in tl.static_range(UNROLL):
                    value = tl.load(seen + u * STEP, mask=inside, other=0.0).to(tl.float32)
                    sums += tl.abs(value - tl.load(held + u * PITCH))
                seen += UNROLL * STEP
                held += UNROLL * PITCH
    channel = group * OUTPUTS + filters
    wanted = live & (filters < OUTPUTS)
    most = tl.load(bias + channel, mask=filters < OUTPUTS, other=0.0) if BIAS else 0.0
    tl.store(y + image * y_image + channel * y_channel + row * y_row + column * y_column, most - sums, mask=wanted)


@jit
def _clipped(difference, ASM: tl.constexpr):
    """``clip(difference, -1, 1)``; one instruction by PTX, the smaller magnitude with the difference's sign."""
    if ASM:
        return tl.inline_asm_elementwise(
            "min.NaN.xorsign.abs.f32 $0, $1, 0f3F800000;", "=f,f", [difference], dtype=tl.float32, is_pure=True, pack=1
        )
    return tl.minimum(tl.maximum(difference, -1.0, tl.PropagateNan.ALL), 1.0, tl.PropagateNan.ALL)


@jit(do_not_specialize=[*_SIZES, *(f"{t}_{s}" for t in "xgd" for s in ("image", "channel", "row", "column"))])
def adder_features(
    x, w, g, d,
    images, height, width, rows, columns, kernel_rows, kernel_columns,
    down, right, top, left, dilation_rows, dilation_columns,
    x_image, x_channel, x_row, x_column, g_image, g_row, g_column,
    d_image, d_channel, d_row, d_column,
    INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, PITCH: tl.constexpr, STEP: tl.constexpr, ASM: tl.constexpr,
    RP: tl.constexpr, RC: tl.constexpr, TP: tl.constexpr, TC: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """``d = sum g * clip(w - x, -1, 1)`` for pixels of the features of one phase, every ``down``-th row and
    ``right``-th column, and inputs of one group; w as [group][tap][output][PITCH]."""
    blocks: tl.constexpr = PITCH // (RC * TC)
    group = tl.program_id(1) // blocks
    first_row, first_column = tl.program_id(2) // right, tl.program_id(2) % right
    own_rows, own_columns = (height - first_row + down - 1) // down, (width - first_column + right - 1) // right
    pixel, inputs = _pixels(RP, TP), _channels(tl.program_id(1) % blocks, RC, TC)
    live = pixel < images * own_rows * own_columns
    column = first_column + pixel % tl.maximum(own_columns, 1) * right
    above = pixel // tl.maximum(own_columns, 1)
    row = first_row + above % tl.maximum(own_rows, 1) * down
    image = (above // tl.maximum(own_rows, 1)).to(tl.int64)
    channel = group * INPUTS + inputs
    wanted = live & (inputs < INPUTS)
    here = tl.load(x + image * x_image + channel * x_channel + row * x_row + column * x_column, mask=wanted, other=0.0)
    here = here.to(tl.float32)
    g_of_image = g + image * g_image + group * OUTPUTS * STEP
    w_of_group = w + group * (kernel_rows * kernel_columns * OUTPUTS * PITCH) + inputs
    sums = tl.full((RP, RC, TP, TC), 0.0, tl.float32)
    for ky in range(kernel_rows):
        # All rows of a phase have one rest; a tap that no window puts there is passed over.
        if (first_row + top - ky * dilation_rows) % down == 0:
            r = row + top - ky * dilation_rows
            for kx in range(kernel_columns):
                if (
                    first_column + left - kx * dilation_columns + kernel_columns * dilation_columns * right
                ) % right == 0:
                    c = column + left - kx * dilation_columns
                    inside = live & (r >= 0) & (r < rows * down) & (c >= 0) & (c < columns * right)
                    blame = g_of_image + (r // down * g_row + c // right * g_column)
                    filters = w_of_group + (ky * kernel_columns + kx) * (OUTPUTS * PITCH)
                    for _ in range(0, OUTPUTS, UNROLL):
                        for u in tl.static_range(UNROLL):
                            value = tl.load(blame + u * STEP, mask=inside, other=0.0).to(tl.float32)
                            sums += value * _clipped(tl.load(filters + u * PITCH) - here, ASM)
                        blame += UNROLL * STEP
                        filters += UNROLL * PITCH
    tl.store(d + image * d_image + channel * d_channel + row * d_row + column * d_column, sums, mask=wanted)


@jit
def _distance_of_four(x, w, total, ASM: tl.constexpr):
    """``total`` and the sum of the absolute differences of the four unsigned bytes of two words."""
    if ASM:
        return tl.inline_asm_elementwise(
            "vabsdiff4.u32.u32.u32.add $0, $1, $2, $3;", "=r,r,r,r", [x, w, total], dtype=tl.int32, is_pure=True, pack=1
        )
    for byte in tl.static_range(4):
        total += tl.abs((x >> (8 * byte) & 255) - (w >> (8 * byte) & 255))
    return total


@jit(do_not_specialize=["pitch", "patches", "filters"])
def byte_distances(
    x, w, y, pitch, patches, filters,
    WORDS: tl.constexpr, FILTERS: tl.constexpr, ASM: tl.constexpr,
    RP: tl.constexpr, RC: tl.constexpr, TP: tl.constexpr, TC: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """``y = -sum |x - w|`` of bytes, four in a word: x as [word][pitch], w as [word][FILTERS], y (patches, filters)."""
    patch, own = _pixels(RP, TP), _channels(tl.program_id(1), RC, TC)
    sums = tl.full((RP, RC, TP, TC), 0, tl.int32)
    seen, rows = x + patch, w + own
    for _ in range(0, WORDS, UNROLL):
        for u in tl.static_range(UNROLL):
            a, b = tl.load(seen + u * pitch), tl.load(rows + u * FILTERS)
            a, b = tl.broadcast_to(a, (RP, RC, TP, TC)), tl.broadcast_to(b, (RP, RC, TP, TC))
            sums = _distance_of_four(a, b, sums, ASM)
        seen += UNROLL * pitch
        rows += UNROLL * FILTERS
    tl.store(y + patch.to(tl.int64) * filters + own, 0 - sums, mask=(patch < patches) & (own < filters))
