"""The .addax file: a Program comes back byte for byte, whatever else is given as one is refused in one line."""

import contextlib
import json
import os
import pickle

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.models.nets import zoo
from addax.quant import golden
from addax.quant.files.archive import load_program, program_bytes, program_digest, save_program
from addax.quant.formats import signed, unsigned
from addax.quant.program import KERNELS, ArgMax, Concat, Convolution, Input, Program, Requantise, Threshold
from networks import random_graph, random_images, random_program, random_reshaping
from safetensors.numpy import load_file, save_file

HEADER = 8
"""A safetensors file begins with the length of its JSON header."""
KINDS = {
    "Input", "Convolution", "Requantise", "Threshold", "Concat", "MaxPool", "AveragePool", "Flatten", "ArgMax"
}  # fmt: skip


@contextlib.contextmanager
def refused(*parts):
    with pytest.raises(UserError) as caught:
        yield
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def split(content):
    size = int.from_bytes(content[:HEADER], "little")
    return json.loads(content[HEADER : HEADER + size]), content[HEADER + size :]


def edited(content, edit):
    """The same file with another graph: ``edit`` changes the JSON that addax wrote, or returns another."""
    header, body = split(content)
    value = json.loads(header["__metadata__"]["addax"])
    changed = edit(value)
    header["__metadata__"]["addax"] = json.dumps(value if changed is None else changed)
    text = json.dumps(header).encode()
    return len(text).to_bytes(HEADER, "little") + text + body


@pytest.fixture(scope="module")
def content():
    """A file with every kind of operation."""
    programs = (random_graph(seed) for seed in range(200))
    return program_bytes(next(p for p in programs if {type(op).__name__ for op in p.ops} == KINDS))


@pytest.fixture
def load(tmp_path):
    def call(data):
        (tmp_path / "net.addax").write_bytes(data)
        return load_program(tmp_path / "net.addax")

    return call


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


@pytest.mark.parametrize("seed", range(25))
def test_random_graph_comes_back_byte_for_byte(load, seed):
    program = random_graph(seed)

    loaded = load(program_bytes(program))

    assert program_bytes(loaded) == program_bytes(program)
    images = random_images(program, 3, seed)
    before, after = golden.run(program, images, trace=True), golden.run(loaded, images, trace=True)
    assert before.tensors.keys() == after.tensors.keys()
    assert all(np.array_equal(before.tensors[name], after.tensors[name]) for name in before.tensors)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_random_moves_come_back_byte_for_byte(load, seed, raw):
    """Also without an arg-max."""
    program = random_reshaping(seed, raw)

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


def test_truncated_file_is_refused_wherever_it_ends(tmp_path, content):
    """Every byte of the header, and every 37th behind it."""
    size = len(content) - len(split(content)[1])
    ends = [*range(size + 2), *range(size + 2, len(content), 37), len(content) - 1]
    path = tmp_path / "net.addax"
    path.write_bytes(content)
    for end in reversed(ends):
        os.truncate(path, end)
        with refused("net.addax is not an .addax file"):
            load_program(path)


def test_file_with_more_than_it_says_is_refused(load, content):
    with refused("net.addax is not an .addax file"):
        load(content + b"\0")


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\0" * 100, b"\xff" * 100, b"text " * 20, pickle.dumps({"weight": 1}), b"PK\x03\x04" + bytes(100)],
    ids=["empty", "zeros", "ones", "text", "pickle", "zip"],
)
def test_garbage_is_refused(load, garbage):
    with refused("net.addax is not an .addax file"):
        load(garbage)


def test_missing_file_and_folder_are_refused(tmp_path):
    with refused("gone.addax", "no file at", "an .addax file"):
        load_program(tmp_path / "gone.addax")
    with refused(str(tmp_path), "no file at", "an .addax file"):
        load_program(tmp_path)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}])
def test_foreign_safetensors_file_is_refused(tmp_path, metadata):
    save_file({"weight": np.zeros(3, np.float32)}, tmp_path / "net.addax", metadata=metadata)

    with refused("net.addax is a safetensors file, but not an .addax file"):
        load_program(tmp_path / "net.addax")


def test_checkpoint_is_told_apart():
    """The likeliest mistake gets the likeliest remedy."""
    path = zoo.shipped_checkpoint("lenet5", "adder")

    with refused("lenet5-adder.safetensors is a checkpoint of float weights", "addax quantize"):
        load_program(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"text"', "{}"])
def test_header_of_another_kind_is_refused(load, content, text):
    header, body = split(content)
    header["__metadata__"]["addax"] = text
    encoded = json.dumps(header).encode()

    with refused("net.addax"):
        load(len(encoded).to_bytes(HEADER, "little") + encoded + body)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_other_version_is_refused(load, content, version):
    with refused(f"net.addax has format version {version}, this addax reads 1"):
        load(edited(content, lambda value: value.update(version=version)))


def change(kind, **values):
    """Change the first operation of a kind."""

    def edit(value):
        next(entry for entry in value["graph"] if entry["op"] == kind).update(values)

    edit.__doc__ = f"{kind}: {values}"
    return edit


def as_float(kind, key):
    """Write an integer of the first operation of a kind as a float of the same value."""

    def edit(value):
        entry = next(entry for entry in value["graph"] if entry["op"] == kind)
        entry[key] = float(entry[key])

    edit.__doc__ = f"{kind} with float {key}"
    return edit


def drop(kind, key):
    """Leave a key out of the first operation of a kind."""

    def edit(value):
        del next(entry for entry in value["graph"] if entry["op"] == kind)[key]

    edit.__doc__ = f"{kind} without {key}"
    return edit


def put(**values):
    """Change what stands beside the graph."""

    def edit(value):
        value.update(values)

    edit.__doc__ = str(values)
    return edit


def regraph(name, make):
    """Make another graph of the list of operations."""

    def edit(value):
        value["graph"] = make(value["graph"])

    edit.__doc__ = name
    return edit


def without_steps(value):
    """without steps"""  # the name of the case
    del value["steps"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change("ArgMax", op="Softmax"), "unknown operation 'Softmax'"),
        (change("ArgMax", op=["ArgMax"]), ""),
        (change("ArgMax", source="gone"), "argmax reads 'gone', which is not an earlier operation"),
        (change("ArgMax", source=5), "argmax reads 5"),
        (change("ArgMax", name="not a name"), "unique identifier, not 'not a name'"),
        (change("ArgMax", name=5), ""),
        (change("Input", shape=[1, 2]), ""),
        (change("Input", shape=["1", 2, 3]), ""),
        (change("Input", shape=[1.5, 4, 4]), ""),
        (change("Input", shape=None), ""),
        (change("Convolution", kernel="fft"), "kernel must be one of adder, mult, xnor, shift"),
        (change("Convolution", kernel=None), "kernel must be text, not None"),
        (change("Convolution", kernel=["mult"]), "kernel must be text, not ("),
        (change("Convolution", kernel={"bits": 8, "signed": True}), "kernel must be "),
        (change("Convolution", groups=0), "groups must divide"),
        (change("Convolution", groups=1000), "groups must divide"),
        (change("Convolution", groups=None), "groups must be an integer"),
        (as_float("Convolution", "groups"), "groups must be an integer"),
        (as_float("Requantise", "terms"), "terms must be an integer"),
        (change("Requantise", terms=-1), "terms must be 0 or more"),
        (change("Requantise", format={"bits": 64, "signed": False}), "must fit signed 64-bit integers"),
        (change("Threshold", format={"bits": 64, "signed": False}), "must fit signed 64-bit integers"),
        (change("Threshold", format={"bits": 8, "signed": True}), "do not fit int8"),
        (change("Threshold", format=None), ""),
        (change("Threshold", source="gone"), "which is not an earlier operation"),
        (change("Concat", others=["gone"]), "reads 'gone', which is not an earlier operation"),
        (change("Concat", others="gone"), "reads 'g', which is not an earlier operation"),
        (change("Concat", others=[5]), "reads 5, which is not an earlier operation"),
        (change("Concat", others=[["pixels"]]), ""),
        (change("Concat", others=["pixels"]), "cannot stand beside"),
        (change("Concat", others=5), ""),
        (change("Concat", others=None), ""),
        (drop("Concat", "others"), "others"),
        (drop("Threshold", "format"), "format"),
        (change("Convolution", stride=0), "stride 0"),
        (change("Convolution", stride="1"), ""),
        (as_float("Convolution", "stride"), ""),
        (as_float("Convolution", "padding"), ""),
        (as_float("Requantise", "shift"), ""),
        (as_float("Requantise", "hi"), ""),
        (as_float("Requantise", "residual_multiplier"), ""),
        (as_float("MaxPool", "size"), ""),
        (as_float("AveragePool", "stride"), ""),
        (change("Convolution", weight_format={"bits": 1, "signed": True}), ""),
        (change("Convolution", weight_format={"bits": 99, "signed": True}), "bits of a format"),
        (change("Convolution", weight_format={"bits": 8}), ""),
        (change("Convolution", weight_format={"width": 8}), ""),
        (change("Convolution", weight_format=8), ""),
        (change("Requantise", shift=48), "shift must be in 0..47, not 48"),
        (change("Requantise", shift=3.5), ""),
        (change("Requantise", lo=0.5), ""),
        (change("Requantise", hi="127"), ""),
        (change("Requantise", residual="gone"), "which is not an earlier operation"),
        (change("Requantise", residual=5), "which is not an earlier operation"),
        (change("Requantise", residual_multiplier=1.5), ""),
        (change("Requantise", residual_multiplier=2**31), "R must be in"),
        (change("Requantise", format={"bits": 8.5, "signed": True}), "bits of a format"),
        (change("MaxPool", size=1.5), ""),
        (change("MaxPool", size=100), "larger than the padded image"),
        (change("AveragePool", stride=[1, 1]), ""),
        (drop("Input", "shape"), ""),
        (drop("Convolution", "kernel"), ""),
        (drop("Requantise", "shift"), ""),
        (drop("ArgMax", "name"), ""),
        (drop("ArgMax", "op"), ""),
        (put(graph=[]), "must begin with an input"),
        (put(graph={}), ""),
        (put(graph=None), ""),
        (put(graph=[1]), ""),
        (regraph("cut", lambda ops: ops[1:]), "must begin with an input"),
        (regraph("reversed", lambda ops: ops[::-1]), "must begin with an input"),
        (regraph("twice", lambda ops: [ops[0], *ops]), "unique identifier"),
        (put(steps=[1]), ""),
        (put(steps={"pixels": "wide"}), ""),
        (without_steps, "steps"),
        (put(metadata="text"), ""),
        (put(metadata=None), ""),
        (put(metadata={"bits": 8}), ""),
    ],
    ids=lambda v: v.__doc__ if callable(v) else "",
)
def test_program_that_does_not_fit_together_is_refused(load, content, edit, message):
    """Nothing that a file says may reach the golden model or the RTL unchecked."""
    with refused("net.addax is a broken .addax file", message):
        load(edited(content, edit))


def tensors_of(content, tmp_path):
    (tmp_path / "whole.addax").write_bytes(content)
    return load_file(tmp_path / "whole.addax"), split(content)[0]["__metadata__"]


@pytest.mark.parametrize("make", [None, lambda value: value.astype(np.float32), lambda value: value[..., None]])
@pytest.mark.parametrize("role", ["weight", "pad", "multiplier", "offset", "thresholds", "falling"])
def test_missing_float_and_misshapen_tensors_are_refused(tmp_path, content, role, make):
    tensors, metadata = tensors_of(content, tmp_path)
    name = next(name for name in tensors if name.endswith(f".{role}"))
    value = tensors.pop(name)
    if make is not None:
        tensors[name] = make(value)
    save_file(tensors, tmp_path / "net.addax", metadata=metadata)

    with refused("net.addax is a broken .addax file"):
        load_program(tmp_path / "net.addax")


@pytest.mark.parametrize("role", ["weight", "pad", "multiplier", "offset", "thresholds", "falling"])
@pytest.mark.parametrize("value", [2**62, -(2**63)])
def test_values_that_leave_their_format_are_refused(tmp_path, content, role, value):
    tensors, metadata = tensors_of(content, tmp_path)
    name = min(name for name in tensors if name.endswith(f".{role}"))
    tensors[name] = np.full_like(tensors[name], value, dtype=np.int64)
    save_file(tensors, tmp_path / "net.addax", metadata=metadata)

    with refused("net.addax is a broken .addax file", name.split(".")[0]):
        load_program(tmp_path / "net.addax")


def test_damaged_bytes_are_refused_or_give_a_program_that_fits(tmp_path, content):
    """One changed bit anywhere: a clear refusal, or a Program that runs; never another exception."""
    rng = np.random.default_rng(0)
    path = tmp_path / "net.addax"
    ran = 0
    for position in rng.integers(0, 8 * len(content), 400):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            program = load_program(path)
        except UserError:
            continue
        golden.run(program, random_images(program, 1, 0))
        ran += 1
    assert 0 < ran < 400
