"""The .addax file: a Program comes back byte for byte, and others can read its tensors."""

import numpy as np
import pytest
from addax.quant import golden
from addax.quant.files.archive import load_program, program_bytes, program_digest, save_program
from addax.quant.formats import signed, unsigned
from addax.quant.program import KERNELS, ArgMax, Concat, Convolution, Input, Program, Requantise, Threshold
from archives import KINDS, edited
from gated_networks import random_gated
from networks import random_bending, random_graph, random_images, random_program, random_reshaping, random_windows
from operations import convolution
from safetensors.numpy import load_file


def with_residual():
    """What random programs do not have: metadata, steps, numbers that need 64 bits."""
    conv = Convolution(name="conv", source="pixels", kernel="mult", weight=np.array([[[[-32768]]], [[[32767]]]]),
                       weight_format=signed(16), pad=np.array([255]))  # fmt: skip
    first = Requantise(name="first", source="conv", multiplier=np.array([-32767, 32767]), shift=31, format=unsigned(16),
                       offset=np.array([-(2**39), 2**39 - 1]), lo=3, hi=65534)  # fmt: skip
    second = Requantise(name="second", source="conv", multiplier=np.array([0, 1]), shift=0, format=signed(48),
                        offset=np.array([0, 1]), lo=-(2**47), hi=2**47 - 1, residual="first",
                        residual_multiplier=-32767)  # fmt: skip
    return Program(
        ops=(Input(name="pixels", shape=(1, 1, 1)), conv, first, second, ArgMax(name="argmax", source="second")),
        steps={"pixels": 1 / 255, "first": 1e-300}, metadata={"network": "µ × \"quoted\"", "empty": ""},
    )  # fmt: skip


def with_every_kernel():
    """All kernels, grouped and not, several formats of weights of mult, and no field of an operation at its default."""
    ones = np.ones(2, np.int64)
    ops = [
        Input(name="pixels", shape=(2, 1, 1)),
        Requantise(name="low", source="pixels", multiplier=3 * ones, offset=-ones, shift=2, format=signed(6), lo=-9,
                   hi=31, terms=2),
        Threshold(name="bit", source="pixels", thresholds=np.array([[7], [256]]), falling=np.array([0, 1]),
                  format=unsigned(1)),
    ]  # fmt: skip
    formats = {"adder": [signed(6)], "mult": [unsigned(1), signed(2), signed(16)], "shift": [unsigned(4)],
               "xnor": [unsigned(1)]}  # fmt: skip
    for kernel in KERNELS:
        for fmt in formats[kernel]:
            source = "bit" if kernel == "xnor" else "low"
            for groups in (1, 2):
                weight = np.linspace(fmt.lo, fmt.hi, 4 // groups).astype(np.int64).reshape(2, 2 // groups, 1, 1)
                name = f"{kernel}_{fmt}_{groups}"
                conv = Convolution(name=name, source=source, kernel=kernel, weight=weight, weight_format=fmt,
                                   pad=np.array([1, 0]), groups=groups)  # fmt: skip
                lowered = Requantise(name=f"{name}_out", source=name, multiplier=ones, offset=ones, shift=0,
                                     format=signed(40), lo=-(2**39), hi=2**39 - 1)  # fmt: skip
                ops += [conv, lowered]
    first, *others = (op.name for op in ops if op.name.endswith("_out"))
    ops += [Concat(name="cat", source=first, others=tuple(others)), ArgMax(name="argmax", source="cat")]
    return Program(ops=tuple(ops))


def test_every_kernel_comes_back_with_its_scores(load):
    """Kernels, groups, terms, words of one bit and of shift: the same bytes, the same fields, the same scores."""
    program = with_every_kernel()
    images = random_images(program, 9, 0)

    loaded = load(program_bytes(program))

    assert program_bytes(loaded) == program_bytes(program)
    assert [vars(op).keys() for op in loaded.ops] == [vars(op).keys() for op in program.ops]
    assert [(op.kernel, op.weight_format, op.groups) for op in loaded.ops if isinstance(op, Convolution)] == [
        (op.kernel, op.weight_format, op.groups) for op in program.ops if isinstance(op, Convolution)
    ]
    assert loaded.by_name["low"].terms == 2
    assert loaded.by_name["cat"].others == program.by_name["cat"].others
    scores = golden.run(program, images).scores
    assert np.array_equal(golden.run(loaded, images).scores, scores)
    assert len(np.unique(scores, axis=0)) > 1


@pytest.mark.parametrize("seed", range(20))
def test_windows_come_back_byte_for_byte(load, seed):
    program = random_windows(seed)

    loaded = load(program_bytes(program))

    assert program_bytes(loaded) == program_bytes(program)
    assert [repr(op) for op in loaded.ops] == [repr(op) for op in program.ops]


def test_equal_windows_are_equal_files():
    """One number, or the same one for all sides, is the file that was written before sides could differ."""
    plain = convolution(stride=2, padding=1)
    said = convolution(stride=(2, 2), padding=[1, 1, 1, 1], dilation=(1, 1))

    assert repr(said) == repr(plain)
    assert "dilation" not in repr(plain)
    one_row = convolution(weight=np.ones((3, 2, 1, 3), np.int64), dilation=(5, 2))
    assert one_row.dilation == (1, 2), "nothing lies between the taps of a side that has one"


@pytest.mark.parametrize("seed", range(25))
def test_random_graph_comes_back_byte_for_byte(load, seed):
    program = random_graph(seed)

    loaded = load(program_bytes(program))

    assert program_bytes(loaded) == program_bytes(program)
    images = random_images(program, 3, seed)
    before, after = golden.run(program, images, trace=True), golden.run(loaded, images, trace=True)
    assert before.tensors.keys() == after.tensors.keys()
    assert all(np.array_equal(before.tensors[name], after.tensors[name]) for name in before.tensors)


@pytest.mark.parametrize("make", [random_reshaping, random_bending, random_gated])
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_random_moves_come_back_byte_for_byte(load, seed, raw, make):
    """Also without an arg-max."""
    program = make(seed, raw)

    loaded = load(program_bytes(program))

    assert program_bytes(loaded) == program_bytes(program)
    images = random_images(program, 3, seed)
    assert np.array_equal(golden.run(loaded, images).output, golden.run(program, images).output)


def test_random_graphs_have_every_operation():
    """Else the test above would not protect what it says."""
    assert {type(op).__name__ for seed in range(25) for op in random_graph(seed).ops} == KINDS


@pytest.mark.parametrize("seed", range(8))
def test_file_from_before_groups_and_terms_still_loads(load, seed):
    """Version 1 was written without these two fields at first; the file then means what it meant."""
    program = random_program(seed)

    def edit(value):
        assert value["version"] == 1
        for entry in value["graph"]:
            lacking = {"Convolution": "groups", "Requantise": "terms"}.get(entry["op"])
            if lacking:
                del entry[lacking]

    old = edited(program_bytes(program), edit)
    assert b"groups" not in old and b"terms" not in old

    loaded = load(old)

    assert {op.groups for op in loaded.ops if isinstance(op, Convolution)} == {1}
    assert {op.terms for op in loaded.ops if isinstance(op, Requantise)} == {0}
    assert program_bytes(loaded) == program_bytes(program)
    images = random_images(program, 3, seed)
    assert np.array_equal(golden.run(loaded, images).scores, golden.run(program, images).scores)


@pytest.mark.parametrize("seed", range(25))
def test_random_program_comes_back_byte_for_byte(tmp_path, seed):
    program = random_program(seed)
    save_program(tmp_path / "net.addax", program)

    loaded = load_program(tmp_path / "net.addax")

    assert (tmp_path / "net.addax").read_bytes() == program_bytes(program) == program_bytes(loaded)
    assert program_digest(loaded) == program_digest(program)
    images = random_images(program, 3, seed)
    before, after = golden.run(program, images, trace=True), golden.run(loaded, images, trace=True)
    assert all(np.array_equal(before.tensors[name], after.tensors[name]) for name in before.tensors)


def test_every_field_comes_back(load):
    program = with_residual()

    loaded = load(program_bytes(program))

    assert dict(loaded.steps) == dict(program.steps) and dict(loaded.metadata) == dict(program.metadata)
    for before, after in zip(program.ops, loaded.ops, strict=True):
        assert type(before) is type(after)
        for name, value in vars(before).items():
            if isinstance(value, np.ndarray):
                assert np.array_equal(getattr(after, name), value) and getattr(after, name).dtype == np.int64
            else:
                assert getattr(after, name) == value
    assert program_bytes(loaded) == program_bytes(program)


@pytest.mark.parametrize("bits", [2, 8, 16])
def test_lenet5_comes_back(load, lenet, digits, bits):
    program = lenet("adder", bits)

    loaded = load(program_bytes(program))

    images = digits.x[:40]
    assert np.array_equal(golden.run(loaded, images).scores, golden.run(program, images).scores)
    assert dict(loaded.metadata) == dict(program.metadata)


def test_digest_tells_programs_apart():
    digests = {program_digest(random_program(seed)) for seed in range(20)}

    assert len(digests) == 20
    program = with_residual()
    before = program_digest(program)
    program.by_name["conv"].weight.setflags(write=True)
    program.by_name["conv"].weight[0] += 1
    assert program_digest(program) != before


def test_tensors_are_plain_integers_that_others_can_read(tmp_path):
    """Any safetensors reader gets the weights, in no more bytes than they need."""
    program = with_residual()
    save_program(tmp_path / "net.addax", program)

    tensors = load_file(tmp_path / "net.addax")

    assert {name: str(value.dtype) for name, value in tensors.items()} == {
        "conv.weight": "int16", "conv.pad": "int16", "first.multiplier": "int16", "first.offset": "int64",
        "second.multiplier": "int8", "second.offset": "int8",
    }  # fmt: skip
    assert tensors["conv.weight"].ravel().tolist() == [-32768, 32767]
