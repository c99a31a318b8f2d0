"""The adder convolution as an operator of torch: ``torch.ops.addax.adder_conv2d``.

It works under autograd, ``torch.compile``, autocast and DDP, in both memory formats. Types: the result has the type
that torch promotes those of features and filters to, every gradient the type of what it belongs to, and sums are
float32. Autocast casts nothing here: features come as the layers before leave them, and filters stay float32, so the
result, an L1 norm over hundreds of terms, is float32.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .back_ends import BackEnd, back_end_of
from .shape import ConvolutionShape, pair_of

__all__ = ["adder_conv2d"]


def adder_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Minus the L1 distance of every patch to every filter, with the gradients of the AdderNet authors.

    The gradient of ``weight`` is the raw full-precision one, ``sum_p (patch - weight) * upstream``: it can be summed
    over accumulated batches and over ranks. The authors' scaling comes once per step, by
    `models.layers.adder_gradients`. The gradient of ``x`` is ``sum_o clip(weight - patch, -1, 1) * upstream`` (Chen et
    al., "AdderNet: Do We Really Need Multiplications in Deep Learning?").

    Parameters
    ----------
    x : (B, C, H, W) features, float32, bfloat16, float16 or (slowly) float64
    weight : (O, C / groups, Kh, Kw)
    bias : (O,), added to the result
    stride, padding, dilation : one number, or (vertical, horizontal); a padded tap reads 0 and so adds ``-|weight|``
    groups : parts of channels and filters

    Returns
    -------
    (B, O, rows, columns), channels last where ``x`` is

    Raises
    ------
    ValueError
        for sizes that do not fit each other.
    """
    result: Tensor = torch.ops.addax.adder_conv2d(
        x, weight, bias, pair_of(stride), pair_of(padding), pair_of(dilation), groups
    )
    return result


@torch.library.custom_op("addax::adder_conv2d", mutates_args=())
def _forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], groups: int,
) -> Tensor:  # fmt: skip
    shape = ConvolutionShape.of(x, weight, stride, padding, dilation, groups)
    _check("bias", bias, (shape.outputs,), x)
    out = _result(x, weight, shape)
    if out.numel():
        _back_end(x, weight).forward(x, weight, bias, shape, out)
    return out


@torch.library.custom_op("addax::adder_conv2d_features", mutates_args=())
def _features(
    upstream: Tensor, x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], groups: int,
) -> Tensor:  # fmt: skip
    """The gradient of ``x``."""
    shape = ConvolutionShape.of(x, weight, stride, padding, dilation, groups)
    _check("upstream gradient", upstream, shape.result, x)
    out = torch.empty_like(x)
    if out.numel():
        _back_end(x, weight).features(x, weight, upstream, shape, out)
    return out


@torch.library.custom_op("addax::adder_conv2d_filters", mutates_args=())
def _filters(
    upstream: Tensor, x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], groups: int,
) -> Tensor:  # fmt: skip
    """The raw gradient of ``weight``."""
    shape = ConvolutionShape.of(x, weight, stride, padding, dilation, groups)
    _check("upstream gradient", upstream, shape.result, x)
    if not upstream.numel():
        return torch.zeros_like(weight, memory_format=torch.contiguous_format)
    return _back_end(x, weight).filters(x, weight, upstream, shape).to(weight.dtype)


def _back_end(x: Tensor, weight: Tensor) -> BackEnd:
    """What computes with these operands; types that the fast back ends do not know go to torch's operations."""
    _check("filters", weight, tuple(weight.shape), x)
    return back_end_of(x.device, torch.promote_types(x.dtype, weight.dtype))


def _check(what: str, values: Tensor | None, shape: tuple[int, ...], x: Tensor) -> None:
    """Refuse what compiled loops would read beyond."""
    if values is None:
        return
    if tuple(values.shape) != shape or values.device != x.device:
        raise ValueError(f"{what} must be {shape} on {x.device}, not {tuple(values.shape)} on {values.device}")
    if not (values.is_floating_point() and x.is_floating_point()):
        raise ValueError(f"features and {what} must be floating point, not {x.dtype} and {values.dtype}")


def _result(x: Tensor, weight: Tensor, shape: ConvolutionShape) -> Tensor:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.empty(
        shape.result, dtype=torch.result_type(x, weight), device=x.device,
        memory_format=torch.channels_last if last else torch.contiguous_format,
    )  # fmt: skip


@_forward.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], groups: int,
) -> Tensor:  # fmt: skip
    return _result(x, weight, ConvolutionShape.of(x, weight, stride, padding, dilation, groups))


@_features.register_fake
def _(upstream: Tensor, x: Tensor, weight: Tensor, *options: Any) -> Tensor:
    return torch.empty_like(x)


@_filters.register_fake
def _(upstream: Tensor, x: Tensor, weight: Tensor, *options: Any) -> Tensor:
    return torch.empty_like(weight, memory_format=torch.contiguous_format)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, *ctx.options = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    wants_x, wants_weight, wants_bias, *_ = ctx.needs_input_grad
    return (
        torch.ops.addax.adder_conv2d_features(upstream, x, weight, *ctx.options) if wants_x else None,
        torch.ops.addax.adder_conv2d_filters(upstream, x, weight, *ctx.options) if wants_weight else None,
        upstream.sum((0, 2, 3)) if wants_bias else None,
        None, None, None, None,
    )  # fmt: skip


_forward.register_autograd(_backward, setup_context=_setup)
