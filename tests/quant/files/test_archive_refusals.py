"""What is given as an .addax file and is none, or does not fit together, is refused in one line."""

import contextlib
import json
import os
import pickle

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.models.nets import zoo
from addax.quant import golden
from addax.quant.files.archive import load_program, program_bytes
from archives import HEADER, edited, split
from networks import random_images
from operations import convolution, program
from safetensors.numpy import load_file, save_file


@contextlib.contextmanager
def refused(*parts):
    with pytest.raises(UserError) as caught:
        yield
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


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
        (change("ArgMax", op="Sigmoid"), "unknown operation 'Sigmoid'"),
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
        (change("AveragePool", stride=[1]), "stride must be an integer or two, vertical and horizontal, not (1,)"),
        (change("AveragePool", stride=[1, 1, 1, 1]), "stride must be an integer or two"),
        (change("AveragePool", stride=[1, 1.0]), "stride must be an integer or two"),
        (change("AveragePool", stride=[1, True]), "stride must be an integer or two"),
        (change("AveragePool", stride=[[1, 1], [1, 1]]), "stride must be an integer or two"),
        (change("AveragePool", stride=[1, 0]), "is not a window"),
        (change("Convolution", stride=[]), "stride must be an integer or two"),
        (change("Convolution", dilation=0), "is not a window"),
        (change("Convolution", dilation=True), "dilation must be an integer or two"),
        (change("Convolution", dilation=None), "dilation must be an integer or two"),
        (change("Convolution", dilation=[1, -1]), "is not a window"),
        (change("Convolution", dilation=1 << 40), "larger than the padded image"),
        (change("Convolution", padding=[1, 1]), "padding must be an integer or four, top, left, bottom and right"),
        (change("Convolution", padding=[0, 0, 0, -1]), "is not a window"),
        (change("MaxPool", padding=[0, 0, 1 << 40, 0]), "is not a window"),
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


@pytest.mark.parametrize("reach", [1 << 16, 1 << 40])
def test_padding_that_no_memory_holds_is_refused(load, reach):
    """A distance between taps is one number in a file, and may make windows that reach far out of a small map."""
    content = program_bytes(program(convolution(dilation=reach, padding=reach)))

    with refused("net.addax is a broken .addax file", "conv pads to 2x", "at most 134,217,728 fit the memory"):
        load(content)


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
