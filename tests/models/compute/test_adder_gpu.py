"""The adder operator's back end for GPUs where there is none: its kernels by Triton's interpreter, against the
definition in float64, and their machine code. `test_adder_operator` has every form."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from addax.models.compute import back_ends
from addax.models.compute import gpu as gpu_module
from addax.models.compute.gpu import TILES, GpuBackEnd, gpu_back_end, tile_for
from addax.models.compute.plain import PlainBackEnd
from addax.models.compute.shape import ConvolutionShape
from adder_definition import defined, make_case
from gpu_interpreter import KERNELS, interpreted_kernels

EVERYTHING = {
    "images": 2, "inputs": 2, "outputs": 3, "height": 5, "width": 4, "kernel": (2, 3), "stride": (2, 3),
    "padding": (1, 2), "dilation": (2, 1), "groups": 2, "bias": True,
}  # fmt: skip


@pytest.fixture
def triton(monkeypatch):
    return GpuBackEnd(interpreted_kernels(monkeypatch), asm=False)


def check(back_end, case, **tile):
    """Result and feature gradient of ``case``, directly."""
    shape = ConvolutionShape.of(case.x, case.weight, **case.options)
    out, of_x = torch.empty(shape.result, dtype=case.x.dtype), torch.empty_like(case.x)
    upstream = torch.randn(shape.result, generator=torch.Generator().manual_seed(0)).to(case.x.dtype)
    back_end.forward(case.x, case.weight, case.bias, shape, out, **tile)
    back_end.features(case.x, case.weight, upstream, shape, of_x, **tile)
    wanted = defined(case, upstream)
    eps = max(torch.finfo(case.x.dtype).eps, 64 * torch.finfo(torch.float32).eps)
    for found, exact, terms in ((out, wanted.y, wanted.y_terms), (of_x, wanted.x, wanted.x_terms)):
        assert ((found.double() - exact).abs() <= eps * terms + 1e-30).all()


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_all_options_at_once(triton, last):
    """Stride, padding, dilation, groups, bias, a kernel that is not square, filters that fill no tile."""
    check(triton, make_case(0, last=last, **EVERYTHING))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_types(triton, dtype):
    check(triton, make_case(1, dtype=dtype, images=1, inputs=4, kernel=(1, 2), padding=(0, 0)))


def test_upstream_gradients_without_memory_of_their_own(triton):
    """The gradient of a sum is one number, seen at every place."""
    case = make_case(2, images=1, inputs=1, kernel=(2, 1))
    shape = ConvolutionShape.of(case.x, case.weight, **case.options)
    found, wanted = torch.empty_like(case.x), torch.empty_like(case.x)
    upstream = torch.ones(1, 1, 1, 1).expand(shape.result)
    triton.features(case.x, case.weight, upstream, shape, found)
    PlainBackEnd().features(case.x, case.weight, upstream, shape, wanted)
    torch.testing.assert_close(found, wanted)


def test_a_value_that_is_no_number_stays_none(triton):
    """Training must see that it went wrong; a minimum that passes over it would give 1."""
    case = make_case(3, images=1, inputs=1, height=2, width=2, kernel=(1, 1), padding=(0, 0))
    case.x[0, 0, 0, 0] = float("nan")
    shape = ConvolutionShape.of(case.x, case.weight, **case.options)
    out, of_x = torch.empty(shape.result), torch.empty_like(case.x)
    triton.forward(case.x, case.weight, None, shape, out)
    triton.features(case.x, case.weight, torch.ones(shape.result), shape, of_x)
    assert out.isnan()[0, :, 0, 0].all() and int(out.isnan().sum()) == out.shape[1]
    assert of_x.isnan().flatten().tolist() == [True, False, False, False]


@pytest.mark.slow
@pytest.mark.parametrize("tile", TILES, ids=str)
def test_every_tile_computes_the_same(triton, tile):
    """More pixels and channels than a tile has, so that both are cut, once by the result and once by the features."""
    size = int((tile.down + 20) ** 0.5) + 1
    small = {"images": 1, "height": size, "width": size, "kernel": (1, 2)}
    check(triton, make_case(4, inputs=3, outputs=tile.right + 2, padding=(0, 1), **small), tile=tile)
    check(triton, make_case(5, inputs=tile.right + 2, outputs=2, padding=(0, 0), **small), tile=tile)


def test_tiles_are_laid_out_as_they_are_meant():
    """Protects the speed of code that no machine here can run: with these, a thread loads pixels + channels numbers for
    pixels * channels terms, see `Tile`."""
    for tile in TILES:
        threads = tile.threads_down * tile.threads_right
        assert threads in (128, 256)
        assert (tile.pixels < tile.threads_right and tile.channels < tile.threads_down) or tile.threads_right == 1


@pytest.mark.parametrize(
    ("pixels", "channels", "groups", "right"),
    [(12544, 256, 1, 64), (16384, 512, 1, 128), (1 << 20, 128, 1, 128), (16384, 64, 1, 64), (65536, 32, 1, 32),
     (262144, 16, 1, 16), (49, 64, 1, 64), (100, 1, 32, 1), (100, 3, 1, 2), (1 << 20, 20, 1, 16)],
)  # fmt: skip
def test_tiles_fit_the_channels_and_fill_the_machine(pixels, channels, groups, right):
    assert tile_for(pixels, channels, groups).right == right


def test_without_triton_operations_of_torch_serve(monkeypatch):
    """Not every torch for GPUs brings it."""
    gpu_back_end.cache_clear()
    monkeypatch.setitem(sys.modules, KERNELS, None)
    monkeypatch.delattr("addax.models.compute.gpu_kernels", raising=False)
    assert back_ends.back_end_of(torch.device("cuda"), torch.float32).name == "torch"
    gpu_back_end.cache_clear()


def test_gpus_get_the_kernels(triton):
    """``triton`` has imported them for the interpreter, which a process that trains does not."""
    gpu_back_end.cache_clear()
    found = back_ends.back_end_of(torch.device("cuda"), torch.bfloat16)
    gpu_back_end.cache_clear()
    assert isinstance(found, GpuBackEnd) and found.kernels is triton.kernels
    assert back_ends.back_end_of(torch.device("cuda"), torch.float64).name == "torch"


def test_more_pixels_than_kernels_can_count_go_to_torch(monkeypatch):
    monkeypatch.setattr(gpu_module, "_MOST_PIXELS", 10)
    check(GpuBackEnd(None, asm=False), replace(make_case(6), bias=None))


def machine_code(monkeypatch, cache, architecture):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(cache))
    script = Path(__file__).parents[2] / "support" / "programs" / "gpu_code.py"
    command = [sys.executable, str(script), str(architecture)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
def test_machine_code_is_mostly_terms(tmp_path, monkeypatch):
    """Compiled for Hopper, which is not here: two instructions for a term of the result, three for one of the gradient,
    one for four bytes, and few others beside them; registers suffice."""
    found = machine_code(monkeypatch, tmp_path, 90)
    assert len(found) == 12
    for name, code in found.items():
        loop, terms = code["loop"], code["terms"]
        own = {
            "adder_forward": {"FADD": 2}, "adder_features": {"FADD": 1, "FMNMX": 1, "FFMA": 1},
            "byte_distances": {"VABSDIFF4": 1},
        }[name.split()[0]]  # fmt: skip
        assert all(loop[instruction] == terms * count for instruction, count in own.items()), (name, loop)
        assert sum(loop.values()) < (2 if name.startswith("byte") else 1.5) * terms * sum(own.values()), (name, loop)
        assert code["spilled"] <= 64, name


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [75, 80, 100])
def test_kernels_compile_for_older_and_newer_gpus(tmp_path, monkeypatch, architecture):
    """Without the instructions that came later, and with the packed additions of Blackwell."""
    assert len(machine_code(monkeypatch, tmp_path, architecture)) == 12
