"""The adder operator against its definition in float64: every option, layout, type and number of threads."""

import functools
import shutil
from dataclasses import replace

import pytest
import torch
from addax.common.native import compiled
from addax.models.compute import back_ends
from addax.models.compute import native as native_module
from addax.models.compute.adder import adder_conv2d
from addax.models.compute.gpu import GpuBackEnd
from addax.models.compute.native import NativeBackEnd
from addax.models.compute.plain import PlainBackEnd
from adder_definition import Case, defined, make_case
from gpu_interpreter import interpreted_kernels
from hypothesis import assume, given
from hypothesis import strategies as st

EPS = torch.finfo(torch.float32).eps
FORMS = {
    "plain": {},
    "one pixel of many images": {"images": 70, "height": 1, "width": 1, "kernel": (1, 1), "padding": (0, 0)},
    "more lanes than a vector": {"inputs": 37, "outputs": 85},
    "strides that leave pixels unseen": {"kernel": (1, 1), "stride": (2, 3), "padding": (0, 0), "height": 8},
    "strides over an even kernel": {"kernel": (2, 4), "stride": (3, 2), "padding": (1, 2), "height": 9},
    "dilated": {"dilation": (2, 3), "padding": (3, 2), "height": 9, "width": 9},
    "stride and dilation": {"dilation": (3, 2), "stride": (2, 4), "padding": (2, 5), "height": 11, "width": 12},
    "not square": {"kernel": (1, 5), "padding": (0, 2)},
    "more padding than map": {"height": 1, "width": 2, "padding": (4, 3)},
    "groups": {"groups": 3, "inputs": 5, "outputs": 7},
    "depthwise": {"groups": 21, "inputs": 1, "outputs": 1, "stride": (2, 1)},
    "several filters for each channel": {"groups": 5, "inputs": 1, "outputs": 2},
    "a map cut into parts": {"height": 40, "width": 50, "images": 1},
    "bias": {"bias": True},
}


@pytest.fixture
def native():
    if shutil.which("g++") is None:
        pytest.skip("the compiled back end needs g++")
    found = back_ends.BACK_ENDS["cpu"]()
    assert isinstance(found, NativeBackEnd)
    return found


@pytest.fixture(params=["native", "torch", pytest.param("triton", marks=pytest.mark.slow)])
def back_end(request, monkeypatch):
    """Each on this machine; the compiled one has three threads, and the GPU's kernels run in Triton's interpreter."""
    if request.param == "native":
        request.getfixturevalue("native")
    elif request.param == "triton":
        found = GpuBackEnd(interpreted_kernels(monkeypatch), asm=False)
        monkeypatch.setitem(back_ends.BACK_ENDS, "cpu", lambda: found)
    else:
        monkeypatch.setitem(back_ends.BACK_ENDS, "cpu", PlainBackEnd)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield request.param
    torch.set_num_threads(before)


def computed(case: Case, seed=1):
    """Result, upstream gradient, and gradients of features, filters and bias."""
    leaves = [None if t is None else t.clone().requires_grad_() for t in (case.x, case.weight, case.bias)]
    y = adder_conv2d(*leaves, **case.options)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)).to(y.dtype)
    y.backward(upstream)
    return y.detach(), upstream, *(None if leaf is None else leaf.grad for leaf in leaves)


def near(found, wanted, terms, count):
    """Within what float32 sums of so many terms may lose, and the rounding of a narrower type."""
    own = 0.0 if found.dtype == torch.float32 else torch.finfo(found.dtype).eps
    room = count * EPS * terms + own * wanted.abs()
    wrong = (found.double() - wanted).abs() > room + torch.finfo(torch.float32).tiny
    assert not wrong.any(), f"{int(wrong.sum())} of {wrong.numel()} are too far off"


def check(case: Case):
    y, upstream, of_x, of_weight, of_bias = computed(case)
    wanted = defined(case, upstream)
    outputs, inputs, rows, columns = case.weight.shape
    near(y, wanted.y, wanted.y_terms, inputs * rows * columns + 1)
    near(of_x, wanted.x, wanted.x_terms, outputs // case.groups * rows * columns + 1)
    near(of_weight, wanted.weight, wanted.weight_terms, y.numel() // outputs + 2)
    if of_bias is not None:
        near(of_bias, upstream.double().sum((0, 2, 3)), upstream.double().abs().sum((0, 2, 3)), y.numel() // outputs)


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_result_and_gradients_are_those_of_the_definition(back_end, form, last):
    """The error of n float32 terms is at most n * eps of their magnitudes."""
    check(make_case(0, last=last, **form))


sizes = functools.partial(st.integers, 1)


@given(st.data())
def test_any_geometry_gives_what_the_definition_gives(data):
    """Sizes that nobody thought of, by the back end of this machine."""
    draw = data.draw
    groups, depthwise = draw(st.sampled_from([1, 1, 2, 3])), draw(st.booleans())
    kernel, dilation = (draw(sizes(4)), draw(sizes(3))), (draw(sizes(3)), draw(sizes(2)))
    padding = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    height, width = draw(sizes(12)), draw(sizes(40))
    for size, pad, taps, gap in zip((height, width), padding, kernel, dilation, strict=True):
        assume(size + 2 * pad > gap * (taps - 1))
    check(make_case(
        draw(st.integers(0, 99)), images=draw(sizes(5)), groups=groups * 7 if depthwise else groups,
        inputs=1 if depthwise else draw(sizes(20)), outputs=1 if depthwise else draw(sizes(20)),
        height=height, width=width, kernel=kernel, dilation=dilation, padding=padding,
        stride=(draw(sizes(3)), draw(sizes(3))), bias=draw(st.booleans()), last=draw(st.booleans()),
        scale=draw(st.sampled_from([1e-3, 0.5, 30.0])),
    ))  # fmt: skip


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_very_small_and_very_large_numbers_keep_their_digits(back_end, scale):
    """Every sum is a sum of differences: no product of operands can leave the range of floats."""
    case = make_case(1, scale=scale, inputs=8)
    y = adder_conv2d(case.x, case.weight, **case.options)
    wanted = defined(case, torch.ones_like(y))
    near(y, wanted.y, wanted.y_terms, 8 * 9)


def test_features_near_their_filters_lose_nothing(back_end):
    """Protects the form of the sum: 2 * sum max(x, w) - sum x - sum w is cheaper, and cancels to nothing here."""
    weight = 1000 + torch.rand(4, 16, 1, 1, generator=torch.Generator().manual_seed(0)) / 64
    assert adder_conv2d(weight[:1] + 2.0**-10, weight).flatten()[0] == -16 * 2.0**-10


@pytest.mark.parametrize("difference", [-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5])
def test_feature_gradient_at_its_kinks(back_end, difference):
    """The clip is continuous, so its value at a difference of exactly 1 or 0 is no matter of taste."""
    x = torch.zeros(1, 1, 1, 1, requires_grad=True)
    adder_conv2d(x, torch.full((1, 1, 1, 1), difference)).sum().backward()
    assert x.grad.item() == max(-1.0, min(1.0, difference))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", ["plain", "groups", "depthwise", "strides over an even kernel"])
def test_narrow_types_are_summed_in_float32(back_end, dtype, form):
    """600 terms summed in bfloat16 would stop growing; the result is rounded to the type once."""
    check(make_case(2, dtype=dtype, **{**FORMS[form], "inputs": 60 if form == "plain" else 1}))


@pytest.mark.parametrize("features", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("filters", [torch.float32, torch.bfloat16, torch.float64])
def test_types_of_results_and_gradients(features, filters):
    """The result has the promoted type; a gradient has the type of what it belongs to."""
    case = make_case(3, bias=True)
    case = replace(case, x=case.x.to(features), weight=case.weight.to(filters), bias=case.bias.to(filters))
    y, upstream, of_x, of_weight, _ = computed(case)
    assert (y.dtype, of_x.dtype, of_weight.dtype) == (torch.promote_types(features, filters), features, filters)
    wanted = defined(case, upstream)
    near(y, wanted.y, wanted.y_terms, 28)
    near(of_x, wanted.x, wanted.x_terms, 37)
    near(of_weight, wanted.weight, wanted.weight_terms, 43)


def test_float64_is_computed_in_float64():
    """Whoever checks gradients numerically asks for it."""
    case = make_case(4, dtype=torch.float64, groups=2, stride=(2, 1))
    y, upstream, of_x, of_weight, _ = computed(case)
    wanted = defined(case, upstream)
    for found, exact in ((y, wanted.y), (of_x, wanted.x), (of_weight, wanted.weight)):
        torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 500, 1 << 22])
def test_results_do_not_depend_on_how_torch_operations_are_chunked(monkeypatch, chunk):
    monkeypatch.setattr("addax.models.compute.plain._CHUNK_ELEMENTS", chunk)
    monkeypatch.setitem(back_ends.BACK_ENDS, "cpu", PlainBackEnd)
    for dtype in (torch.float32, torch.bfloat16):
        check(make_case(5, images=4, dtype=dtype, groups=2))


def test_results_are_the_same_to_the_bit_in_every_run(native):
    """A resumed training gives the weights of an unbroken one, whichever thread was faster."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        case = make_case(6, images=8, inputs=16, outputs=16, height=24, width=24)
        first, *others = [computed(case) for _ in range(4)]
        for other in others:
            assert all(torch.equal(a, b) for a, b in zip(first[:4], other[:4], strict=True))
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["-mno-avx512f", "-march=x86-64"])
def test_other_processors_compute_the_same(monkeypatch, native, flag):
    """Narrower vectors, and no fused multiply-add: the result is the same to the bit, so that calibration finds the
    same ranges; gradients are as near to the definition."""
    cases = [make_case(seed, last=bool(seed % 2), **form) for seed, form in enumerate(FORMS.values())]
    here = [computed(case)[0] for case in cases]
    library = compiled(native_module._SOURCE, (*native_module._FLAGS, flag))
    assert library is not None
    monkeypatch.setitem(back_ends.BACK_ENDS, "cpu", lambda: NativeBackEnd(library))
    for case, mine in zip(cases, here, strict=True):
        assert torch.equal(computed(case)[0], mine)
        check(case)


def test_upstream_gradients_of_any_strides(native):
    """A sum's gradient is one number for all pixels, with strides of 0."""
    case = make_case(7)
    x = case.x.clone().requires_grad_()
    adder_conv2d(x, case.weight, **case.options).sum().backward()
    wanted = defined(case, torch.ones(2, 4, 6, 7))
    near(x.grad, wanted.x, wanted.x_terms, 37)
    turned = adder_conv2d(case.x.transpose(2, 3), case.weight.transpose(2, 3), padding=1)
    torch.testing.assert_close(turned.transpose(2, 3), adder_conv2d(case.x, case.weight, padding=1))


def test_numbers_that_are_not_finite_stay_so(back_end):
    """A training loop stops at a loss that is not finite, so nothing may hide one."""
    case = make_case(8)
    case.x[0, 0, 2, 2] = torch.inf
    case.weight[3, 1, 1, 1] = torch.nan
    y = adder_conv2d(case.x, case.weight, **case.options)
    assert y[0, 0, 2, 2] == -torch.inf
    assert y[:, 3].isnan().all() and y[1, :3].isfinite().all()


@pytest.mark.parametrize("last", [False, True])
def test_result_is_channels_last_where_the_features_are(last):
    case = make_case(9, last=last)
    y, _, of_x, _, _ = computed(case)
    for found in (y, of_x):
        assert found.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def test_no_images_give_no_results():
    case = make_case(10, images=0)
    y, _, of_x, of_weight, _ = computed(case)
    assert y.shape == (0, 4, 6, 7) and of_x.shape == case.x.shape and not of_weight.any()


WRONG = {
    "no map": (lambda x, w: adder_conv2d(x[0], w), "expected"),
    "other channels": (lambda x, w: adder_conv2d(x[:, :2], w), "do not fit 2 channels in 1 groups"),
    "groups": (lambda x, w: adder_conv2d(x, w[:, :1], groups=3), "4 filters of 1 channels do not fit"),
    "too small": (lambda x, w: adder_conv2d(x, w, dilation=4), "does not fit a map of 6 x 7"),
    "stride": (lambda x, w: adder_conv2d(x, w, stride=0), "stride must be at least 1"),
    "padding": (lambda x, w: adder_conv2d(x, w, padding=-1), "padding must not be negative"),
    "integers": (lambda x, w: adder_conv2d(x.long(), w), "must be floating point"),
    "bias": (lambda x, w: adder_conv2d(x, w, torch.zeros(3)), r"bias must be \(4,\) on cpu, not \(3,\)"),
    "upstream": (
        lambda x, w: torch.ops.addax.adder_conv2d_features(x, x, w, (1, 1), (1, 1), (1, 1), 1),
        r"upstream gradient must be \(2, 4, 6, 7\)",
    ),
}


@pytest.mark.parametrize(("call", "says"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit_is_refused(call, says):
    case = make_case(11)
    with pytest.raises(ValueError, match=says):
        call(case.x, case.weight)
