"""Whole networks: the golden model equals plain loops, whatever the order, the threads and the memory."""

import numpy as np
import pytest
from addax.quant import golden
from addax.quant import program as program_module
from addax.quant.formats import signed, unsigned
from addax.quant.golden import execute
from addax.quant.program import (
    ArgMax,
    AveragePool,
    Concat,
    Convolution,
    Flatten,
    Input,
    MaxPool,
    Requantise,
    Threshold,
)
from chains import ONE_BIT, Chain
from naive import check
from networks import random_graph, random_images, random_program, random_windows


@pytest.mark.parametrize("seed", range(40))
def test_random_network_equals_the_loops(seed):
    program = random_program(seed)

    check(program, random_images(program, 2, seed))


@pytest.mark.parametrize("seed", range(40))
def test_random_graph_equals_the_loops(seed):
    """Branches, all kernels, all operations."""
    program = random_graph(seed)

    check(program, random_images(program, 2, seed))


@pytest.mark.parametrize("seed", range(60))
def test_random_windows_equal_the_loops(seed):
    """Sides, strides, distances between taps and pads that all differ."""
    program = random_windows(seed)

    check(program, random_images(program, 2, seed))


def test_random_windows_differ_in_everything():
    """Else the tests on them would protect less than they say."""
    ops = [op for seed in range(60) for op in random_windows(seed).ops]
    convolutions = [op for op in ops if isinstance(op, Convolution)]
    pools = [op for op in ops if isinstance(op, MaxPool | AveragePool)]

    assert {op.kernel for op in convolutions} == set(program_module.KERNELS)
    for name in ("stride", "padding", "dilation"):
        assert sum(isinstance(getattr(op, name), tuple) for op in convolutions) > 30
    assert sum(isinstance(op.padding, tuple) and op.dilation != 1 for op in convolutions) > 30
    for kind in (MaxPool, AveragePool):
        assert sum(isinstance(op, kind) and isinstance(op.size, tuple) and op.stride != 1 for op in pools) > 5
    scores = [golden.run(random_windows(seed), random_images(random_windows(seed), 20, 0)).scores for seed in range(20)]
    assert sum(len(np.unique(score, axis=0)) > 3 for score in scores) > 12


def test_random_graphs_have_everything_and_are_not_stuck():
    """Else the tests on them would protect less than they say."""
    graphs = [random_graph(seed) for seed in range(40)]
    ops = [op for program in graphs for op in program.ops]
    convolutions = [op for op in ops if isinstance(op, Convolution)]

    kinds = {Input, Convolution, Requantise, Threshold, Concat, MaxPool, AveragePool, Flatten, ArgMax}
    assert {type(op) for op in ops} == kinds
    assert {op.kernel for op in convolutions} == set(program_module.KERNELS)
    assert sum(op.groups > 1 for op in convolutions) > 9
    assert sum(op.kernel == "mult" and op.weight_format == ONE_BIT for op in convolutions) > 3
    assert sum(isinstance(op, Requantise) and op.terms > 0 for op in ops) > 9
    assert sum(isinstance(op, Requantise) and op.residual is not None for op in ops) > 9
    assert sum(isinstance(op, Requantise | Threshold) and op.source == "pixels" for op in ops) > 9
    scores = [golden.run(program, random_images(program, 20, 0)).scores for program in graphs]
    assert sum(len(np.unique(score, axis=0)) > 3 for score in scores) > 20


def test_residual_block_equals_the_loops():
    """A convolution of what a convolution made, joined by a shortcut of another format and by the tensor it read."""
    rng = np.random.default_rng(0)
    chain = Chain((3, 5, 5), unsigned(6))

    def conv(name, source, fmt, stride):
        weight = rng.integers(fmt.lo, fmt.hi, (3, 3, 3, 3), endpoint=True)
        chain.add(Convolution(name=name, source=source, kernel="adder", weight=weight, weight_format=fmt, stride=stride,
                              padding=1, pad=rng.integers(fmt.lo, fmt.hi, 3, endpoint=True)))  # fmt: skip

    conv("c1", "stored", unsigned(6), 1)
    chain.requantise("r1", unsigned(5), np.array([90, 80, -70]), np.full(3, 900 * 80), 10,
                     residual="stored", residual_multiplier=-3000)  # fmt: skip
    conv("side", "stored", unsigned(6), 2)
    chain.requantise("shortcut", signed(12), np.array([9, 8, 7]), np.full(3, 7000), 3)
    conv("c2", "r1", unsigned(5), 2)
    chain.requantise("r2", signed(7), np.array([150, -120, 100]), np.full(3, 40000), 9,
                     residual="shortcut", residual_multiplier=31)  # fmt: skip
    program = chain.program()

    result = check(program, random_images(program, 3, 0))

    for name in ("r1", "r2"):
        assert len(np.unique(result.tensors[name])) > 8, f"{name} must not be stuck at its clamps"


@pytest.mark.parametrize("kernel", ["adder", "mult"])
@pytest.mark.parametrize("bits", [4, 8])
def test_lenet5_equals_the_loops(lenet, digits, kernel, bits):
    check(lenet(kernel, bits), digits.x[:1])


@pytest.mark.parametrize("size", [1, 2, 32, 66, 67, 68])
def test_images_do_not_depend_on_their_neighbours(monkeypatch, size):
    """Protects the borders of the batches in which images are executed."""
    monkeypatch.setattr(execute, "_BATCH_IMAGES", size)
    program = random_program(7)
    images = random_images(program, 67, 7)

    together = golden.run(program, images, trace=True, threads=1)

    alone = [golden.run(program, image[None]) for image in images]
    assert together.scores.tolist() == [result.scores[0].tolist() for result in alone]
    assert together.classes.tolist() == [result.classes[0] for result in alone]
    assert {len(tensor) for tensor in together.tensors.values()} == {67}


@pytest.mark.parametrize("seed", range(6))
def test_loops_and_threads_change_no_number(monkeypatch, seed):
    """Compiled or numpy, one thread or three, over batches that are not full: the same scores, classes and tensors."""
    program = random_graph(seed)
    images = random_images(program, 75, seed)
    monkeypatch.setattr(execute, "_BATCH_IMAGES", 32)

    results = [
        golden.run(program, images, trace=True, native=native, threads=threads)
        for native in (True, False)
        for threads in (1, 3, None)
    ]

    for other in results[1:]:
        assert np.array_equal(other.scores, results[0].scores) and np.array_equal(other.classes, results[0].classes)
        assert list(other.tensors) == list(results[0].tensors) == [op.name for op in program.ops]
        for name, tensor in results[0].tensors.items():
            assert np.array_equal(other.tensors[name], tensor), name
            assert other.tensors[name].dtype == tensor.dtype == np.int64


def test_images_may_lie_in_memory_in_any_order():
    """Compiled loops read memory as it lies; a view must be seen as what it is."""
    program = random_graph(1)
    images = random_images(program, 5, 1)
    turned = np.ascontiguousarray(images[::-1, :, :, ::-1])[::-1, :, :, ::-1]
    fortran = np.asfortranarray(images)
    assert not turned.flags.c_contiguous and not fortran.flags.c_contiguous

    expected = golden.run(program, images).scores

    assert np.array_equal(golden.run(program, turned).scores, expected)
    assert np.array_equal(golden.run(program, fortran).scores, expected)


def test_no_trace_is_kept_unless_asked_for_and_no_image_is_no_error():
    program = random_program(3)

    result = golden.run(program, random_images(program, 0, 0))

    assert result.tensors == {}
    assert result.scores.shape == (0, program.classes) and result.classes.shape == (0,)


def test_input_and_program_are_left_as_they_are():
    program = random_program(5)
    images = random_images(program, 2, 5)
    before = images.copy(), [op.weight.copy() for op in program.ops if isinstance(op, Convolution)]

    golden.run(program, images)

    assert np.array_equal(images, before[0])
    weights = [op.weight for op in program.ops if isinstance(op, Convolution)]
    assert all(np.array_equal(a, b) for a, b in zip(weights, before[1], strict=True))
