"""The golden model's distances on a GPU: the same integers. Its kernel runs in Triton's interpreter here."""

import numpy as np
import pytest
import torch
from addax.quant import golden
from addax.quant.formats import unsigned
from addax.quant.golden import execute
from addax.quant.golden import gpu as gpu_module
from addax.quant.golden.gpu import GpuLoops, fastest_loops
from addax.quant.golden.loops import NumpyLoops, native_loops
from gpu_interpreter import interpreted_kernels
from loop_kinds import same
from networks import Builder, random_images


@pytest.fixture
def gpu(monkeypatch):
    return GpuLoops(NumpyLoops(), interpreted_kernels(monkeypatch), torch.device("cpu"), asm=False, few=0)


@pytest.fixture
def only_gpu(monkeypatch, gpu):
    """What is not computed on the GPU fails."""
    monkeypatch.setattr(gpu, "_others", None)
    return gpu


@pytest.mark.parametrize(
    ("patches", "filters", "taps"), [(1, 1, 1), (3, 2, 7), (130, 5, 9), (140, 130, 4), (33, 17, 40)]
)
def test_distances_are_the_same(only_gpu, patches, filters, taps):
    """Numbers that fill no word, tile or loop; every byte, its ends more often."""
    rng = np.random.default_rng(patches)
    x, w = (rng.choice([0, 255, *range(256)], (rows, taps)).astype(np.uint8) for rows in (patches, filters))
    same(only_gpu.adder(x, w, 255 * taps), NumpyLoops().adder(x, w, 255 * taps))


def test_bytes_with_their_highest_bit_are_unsigned(only_gpu):
    """A word of four of them is a negative number."""
    x, w = np.full((2, 8), 255, np.uint8), np.array([[0] * 8, [128] * 8, [255] * 8], np.uint8)
    assert only_gpu.adder(x, w, 2040).tolist() == [[-2040, -1016, 0]] * 2


def test_rows_that_do_not_lie_together(only_gpu):
    x = np.arange(240, dtype=np.uint8).reshape(4, 60)
    same(only_gpu.adder(x[:, ::2], x[::2, ::2], 1 << 20), NumpyLoops().adder(x[:, ::2], x[::2, ::2], 1 << 20))


def test_no_patches(gpu):
    assert gpu.adder(np.zeros((0, 4), np.uint8), np.zeros((3, 4), np.uint8), 1020).shape == (0, 3)


@pytest.mark.parametrize("kind", [np.int8, np.int16])
def test_what_is_not_bytes_is_computed_as_before(monkeypatch, gpu, kind):
    """The kernel would read it as bytes."""
    monkeypatch.setattr(gpu, "_kernels", None)
    x = np.array([[-3, 4], [5, -6]], kind)
    same(gpu.adder(x, x, 1 << 10), NumpyLoops().adder(x, x, 1 << 10))


def test_sums_that_could_leave_32_bits_are_computed_as_before(monkeypatch, gpu):
    """The bound is on taps; a smaller one here."""
    assert 255 * (gpu_module._MOST_TAPS - 1) < 1 << 31
    monkeypatch.setattr(gpu, "_kernels", None)
    monkeypatch.setattr(gpu_module, "_MOST_TAPS", 5)
    assert gpu.adder(np.zeros((1, 5), np.uint8), np.full((1, 5), 255, np.uint8), 1275).tolist() == [[-1275]]


def test_few_terms_stay_on_the_processor():
    """The way to the GPU and back takes longer."""
    x = np.zeros((2, 2), np.uint8)
    found = GpuLoops(NumpyLoops(), None, torch.device("cpu"), asm=False)
    assert found.adder(x, x, 510).tolist() == [[0, 0], [0, 0]]


def test_whole_networks_give_the_same(monkeypatch, gpu):
    """An adder network by the loops that the golden model chooses where there is a GPU."""
    b = Builder(np.random.default_rng(0), (3, 5, 5))
    b.convolution("adder", 4, 3, 1, 1, 8)
    b.requantise(unsigned(8))
    b.convolution("adder", 3, 5, 1, 0, 8)
    b.requantise(None, scores=True)
    program = b.program()
    images = random_images(program, 3, 0)
    wanted = golden.run(program, images, native=False, trace=True)
    calls = []
    distances = gpu._distances
    monkeypatch.setattr(gpu, "_distances", lambda *rows: calls.append(rows) or distances(*rows))
    monkeypatch.setattr(execute, "fastest_loops", lambda: gpu)
    found = golden.run(program, images, threads=1, trace=True)
    assert len(calls) == 2
    for name, tensor in wanted.tensors.items():
        same(found.tensors[name], tensor)


def test_without_a_gpu_torch_is_not_asked(monkeypatch):
    """Its import takes seconds, and the golden model needs nothing of it."""
    gpu_module._kernels.cache_clear()
    monkeypatch.setattr(gpu_module, "_DEVICES", ("/nowhere",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("torch was asked"))
    assert fastest_loops() is native_loops()
    gpu_module._kernels.cache_clear()


def test_with_a_gpu_its_loops_are_chosen(monkeypatch, gpu, tmp_path):
    gpu_module._kernels.cache_clear()
    monkeypatch.setattr(gpu_module, "_DEVICES", (str(tmp_path),))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("addax.models.compute.gpu.has_instructions", lambda: True)
    assert isinstance(fastest_loops(), GpuLoops)
    gpu_module._kernels.cache_clear()
