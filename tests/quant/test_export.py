"""Exports: the same integers for numpy and for C, with a manifest that says everything else."""

import hashlib
import json
import shutil
import struct
import subprocess

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.quant import golden
from addax.quant.export import FORMATS, export, read_npz
from addax.quant.formats import Format, signed, unsigned
from addax.quant.program import (
    ArgMax,
    AveragePool,
    Convolution,
    Flatten,
    Input,
    MaxPool,
    Program,
    Requantise,
)
from networks import random_images, random_program

EXTREMES = {
    "conv_weight": [-32768, 32767],
    "conv_pad": [255],
    "first_multiplier": [-32767, 32767],
    "first_offset": [-(2**39), 2**39 - 1],
    "second_multiplier": [0, 1],
    "second_offset": [-(2**31), 0],
}


def extreme_program():
    """The ends of every type that an array can have, a residual, a layer without a known step."""
    weight = np.array(EXTREMES["conv_weight"]).reshape(2, 1, 1, 1)
    conv = Convolution(name="conv", source="pixels", kernel="mult", weight=weight, weight_format=signed(16),
                       pad=np.array([255]))  # fmt: skip
    first = Requantise(name="first", source="conv", multiplier=np.array(EXTREMES["first_multiplier"]), shift=31,
                       format=unsigned(16), offset=np.array(EXTREMES["first_offset"]), lo=3, hi=65534)  # fmt: skip
    second = Requantise(name="second", source="conv", multiplier=np.array(EXTREMES["second_multiplier"]), shift=0,
                        format=signed(56), offset=np.array(EXTREMES["second_offset"]), lo=-(2**55), hi=2**55 - 1,
                        residual="first", residual_multiplier=-32767)  # fmt: skip
    return Program(
        ops=(Input(name="pixels", shape=(1, 1, 1)), conv, first, second, ArgMax(name="argmax", source="second")),
        steps={"pixels": 1 / 255, "first": 0.125}, metadata={"network": "tiny", "bits": "16"},
    )  # fmt: skip


def arrays(program):
    """Every tensor of a Program by the name that an export gives it."""
    found = {}
    for op in program.ops:
        for role in ("weight", "pad", "multiplier", "offset"):
            if hasattr(op, role):
                found[f"{op.name}_{role}"] = getattr(op, role)
    return found


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def rebuilt(folder):
    """The Program again, from nothing but what an npz export holds."""
    manifest, tensors = manifest_of(folder), read_npz(folder)
    formats = {e["name"]: Format(bits=e["bits"], signed=e["signed"]) for e in manifest["tensors"]}
    ops = []
    for e in manifest["operations"]:
        name, fmt = e["name"], Format(bits=e["bits"], signed=e["signed"])
        common = {"name": name, "source": e["source"]}

        def pick(*keys, e=e):
            return {key: e[key] for key in keys}

        match e["op"]:
            case "Input":
                op = Input(name=name, shape=tuple(e["shape"]))
            case "Convolution":
                op = Convolution(**common, **pick("kernel", "stride", "padding"), weight=tensors[f"{name}_weight"],
                                 pad=tensors[f"{name}_pad"], weight_format=formats[f"{name}_weight"])  # fmt: skip
            case "Requantise":
                op = Requantise(**common, **pick("shift", "lo", "hi", "residual", "residual_multiplier"), format=fmt,
                                multiplier=tensors[f"{name}_multiplier"], offset=tensors[f"{name}_offset"])  # fmt: skip
            case "MaxPool":
                op = MaxPool(**common, **pick("size", "stride", "padding"))
            case "AveragePool":
                op = AveragePool(**common, **pick("size", "stride"))
            case "Flatten":
                op = Flatten(**common)
            case "ArgMax":
                op = ArgMax(**common)
        ops.append(op)
    program = Program(ops=tuple(ops))
    for e in manifest["operations"]:
        assert (program.shape(e["name"]), program.format(e["name"])) == (
            tuple(e["shape"]), Format(bits=e["bits"], signed=e["signed"]),
        )  # fmt: skip
    return program


@pytest.mark.parametrize("seed", range(12))
def test_numpy_reader_gives_the_same_integers(tmp_path, seed):
    program = random_program(seed)

    tensors = read_npz(export(program, tmp_path / "out", fmt="npz"))

    expected = arrays(program)
    assert tensors.keys() == expected.keys()
    for name, value in tensors.items():
        assert value.dtype == np.int64 and value.shape == expected[name].shape
        assert np.array_equal(value, expected[name])


@pytest.mark.parametrize("make", [*(lambda seed=seed: random_program(seed) for seed in range(12)), extreme_program])
def test_export_is_enough_to_compute_the_same(tmp_path, make):
    """Program to export to import to golden model: identical integers."""
    program = make()

    again = rebuilt(export(program, tmp_path / "out", fmt="npz"))

    images = random_images(program, 4, 0)
    before, after = golden.run(program, images, trace=True), golden.run(again, images, trace=True)
    assert before.tensors.keys() == after.tensors.keys()
    assert all(np.array_equal(before.tensors[name], after.tensors[name]) for name in before.tensors)


@pytest.mark.parametrize("kernel", ["adder", "mult"])
def test_lenet5_export_is_enough_to_compute_the_same(tmp_path, lenet, digits, kernel):
    program = lenet(kernel, 8)

    again = rebuilt(export(program, tmp_path / "out", fmt="npz"))

    assert np.array_equal(golden.run(again, digits.x[:32]).scores, golden.run(program, digits.x[:32]).scores)


def test_plain_numpy_can_read_the_file(tmp_path):
    export(extreme_program(), tmp_path / "out", fmt="npz")

    with np.load(tmp_path / "out" / "weights.npz") as archive:
        assert {name: archive[name].ravel().tolist() for name in archive.files} == EXTREMES


# The manifest


@pytest.mark.parametrize("fmt", FORMATS)
def test_manifest_describes_every_tensor(tmp_path, fmt):
    export(extreme_program(), tmp_path / "out", fmt=fmt)

    manifest = manifest_of(tmp_path / "out")

    assert (manifest["format"], manifest["program"]) == (fmt, {"network": "tiny", "bits": "16"})
    assert (tmp_path / "out" / manifest["file"]).is_file()
    entries = {entry["name"]: entry for entry in manifest["tensors"]}
    assert list(entries) == list(EXTREMES)
    keys = ("layer", "role", "shape", "order", "bits", "signed", "step")
    assert {name: tuple(entry[key] for key in keys) for name, entry in entries.items()} == {
        "conv_weight": ("conv", "weight", [2, 1, 1, 1], "output, input, kernel row, kernel column", 16, True, None),
        "conv_pad": ("conv", "pad", [1], "input", 8, False, None),
        "first_multiplier": ("first", "multiplier", [2], "output", 16, True, None),
        "first_offset": ("first", "offset", [2], "output", 40, True, None),
        "second_multiplier": ("second", "multiplier", [2], "output", 16, True, None),
        "second_offset": ("second", "offset", [2], "output", 40, True, None),
    }
    for name, entry in entries.items():
        little_endian = struct.pack(f"<{len(EXTREMES[name])}q", *EXTREMES[name])
        assert entry["sha256"] == hashlib.sha256(little_endian).hexdigest()


@pytest.mark.parametrize("fmt", FORMATS)
def test_manifest_describes_every_operation(tmp_path, fmt):
    export(extreme_program(), tmp_path / "out", fmt=fmt)

    first, second = manifest_of(tmp_path / "out")["operations"][2:4]

    assert first == {
        "name": "first", "op": "Requantise", "source": "conv", "shape": [2, 1, 1], "bits": 16, "signed": False,
        "step": 0.125, "shift": 31, "lo": 3, "hi": 65534, "residual": None, "residual_multiplier": 0,
    }  # fmt: skip
    assert (second["residual"], second["residual_multiplier"], second["step"]) == ("first", -32767, None)


def test_step_of_adder_weights_is_that_of_the_features_they_meet(tmp_path, lenet):
    program = lenet("adder", 8)
    export(program, tmp_path / "out", fmt="npz")

    entries = {entry["name"]: entry for entry in manifest_of(tmp_path / "out")["tensors"]}

    assert entries["conv2_weight"]["step"] == program.steps[program.by_name["conv2"].source] > 0
    assert (entries["conv2_weight"]["bits"], entries["conv2_weight"]["signed"]) == (8, False)
    assert entries["conv1_weight"]["step"] is None, "one step per channel, which M holds"


@pytest.mark.parametrize("seed", range(6))
def test_values_fit_the_bits_that_the_manifest_states(tmp_path, seed):
    program = random_program(seed)
    tensors = read_npz(export(program, tmp_path / "out", fmt="npz"))

    for entry in manifest_of(tmp_path / "out")["tensors"]:
        assert Format(bits=entry["bits"], signed=entry["signed"]).allows(tensors[entry["name"]])


# Damage


@pytest.fixture
def exported(tmp_path):
    return export(extreme_program(), tmp_path / "out", fmt="npz")


def rewrite(folder, **changes):
    """Replace tensors of an export; None removes one."""
    with np.load(folder / "weights.npz") as archive:
        tensors = dict(archive)
    tensors |= changes
    np.savez(folder / "weights.npz", **{name: value for name, value in tensors.items() if value is not None})


@pytest.mark.parametrize(
    "value",
    [np.array([[[[-32768]]], [[[32766]]]]), np.array([-32768, 32767]), np.array([[[[32767]]], [[[-32768]]]]),
     np.zeros((0, 1, 1, 1), np.int64)],
    ids=["one-value", "shape", "order", "empty"],
)  # fmt: skip
def test_tampered_tensor_is_refused_by_name(exported, value):
    rewrite(exported, conv_weight=value)

    with pytest.raises(UserError, match=r"tensor 'conv_weight' of .*out differs from its manifest"):
        read_npz(exported)


def test_missing_tensor_is_refused_by_name(exported):
    rewrite(exported, first_offset=None)

    with pytest.raises(UserError, match="out has no tensor 'first_offset'"):
        read_npz(exported)


def test_tampered_manifest_is_refused(exported):
    manifest = manifest_of(exported)
    manifest["tensors"][0]["sha256"] = "0" * 64
    (exported / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(UserError, match=r"tensor 'conv_weight' of .* differs"):
        read_npz(exported)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_truncated_tensors_are_refused(exported, share):
    content = (exported / "weights.npz").read_bytes()
    (exported / "weights.npz").write_bytes(content[: int(share * len(content))])

    with pytest.raises(UserError, match=r"weights\.npz"):
        read_npz(exported)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"file": "weights.npz"}', '{"file": 3, "tensors": []}'])
def test_broken_manifest_is_refused(exported, content):
    (exported / "manifest.json").write_text(content)

    with pytest.raises(UserError, match=r"manifest"):
        read_npz(exported)


@pytest.mark.parametrize("name", ["manifest.json", "weights.npz"])
def test_missing_file_is_refused(exported, name):
    (exported / name).unlink()

    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        read_npz(exported)


def test_export_for_c_is_not_read_as_numpy(tmp_path):
    export(extreme_program(), tmp_path / "out", fmt="c")

    with pytest.raises(UserError, match="out"):
        read_npz(tmp_path / "out")


# The folder


@pytest.mark.parametrize("fmt", ["onnx", "", "mem", "NPZ"])
def test_unknown_format_is_refused_before_anything_is_written(tmp_path, fmt):
    with pytest.raises(UserError, match=f"unknown export format '{fmt}'; known: npz, c"):
        export(extreme_program(), tmp_path / "out", fmt=fmt)

    assert list(tmp_path.iterdir()) == []


def test_earlier_export_is_replaced_and_a_foreign_folder_is_not(tmp_path):
    export(extreme_program(), tmp_path / "out", fmt="npz")
    export(extreme_program(), tmp_path / "out", fmt="c")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["addax.json", "manifest.json", "weights.h"]

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("")
    with pytest.raises(UserError, match="mine is not an addax export folder"):
        export(extreme_program(), tmp_path / "mine", fmt="c")


@pytest.mark.parametrize("fmt", FORMATS)
def test_equal_programs_give_equal_exports(tmp_path, fmt):
    for name in ("a", "b"):
        export(random_program(4), tmp_path / name, fmt=fmt)

    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert len(names) == 3
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


# C

COMPILERS = [("gcc", "-std=c99", "c"), ("gcc", "-std=c17", "c"), ("g++", "-std=c++17", "cpp")]


def compiled(folder, compiler, standard, suffix, source):
    """What the program prints whose ``main`` is ``source``, with all warnings as errors."""
    assert shutil.which(compiler), f"{compiler} is needed"
    text = (
        '#include "weights.h"\n#include "weights.h"\n#include <stdio.h>\nint main(void) {\n' + source + "return 0; }\n"
    )
    (folder / f"main.{suffix}").write_text(text)
    flags = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", standard]
    subprocess.run([compiler, *flags, f"main.{suffix}", "-o", "main"], cwd=folder, check=True)
    return subprocess.run([folder / "main"], capture_output=True, text=True, check=True).stdout


def printing(names):
    loops = [
        f'printf("{name} %d", (int)sizeof({name}[0]));\n'
        f"for (unsigned k = 0; k < sizeof({name}) / sizeof({name}[0]); k++) "
        f'printf(" %lld", (long long){name}[k]);\nputchar(10);\n'
        for name in names
    ]
    return "".join(loops)


@pytest.mark.parametrize(("compiler", "standard", "suffix"), COMPILERS)
def test_c_arrays_hold_the_same_integers(tmp_path, compiler, standard, suffix):
    """Also the ends of their types, where a literal of another type would warn or wrap."""
    export(extreme_program(), tmp_path / "out", fmt="c")

    text = compiled(tmp_path / "out", compiler, standard, suffix, printing(EXTREMES))

    values = {line.split()[0]: [int(v) for v in line.split()[2:]] for line in text.splitlines()}
    assert values == EXTREMES
    sizes = {line.split()[0]: int(line.split()[1]) for line in text.splitlines()}
    assert sizes == {
        "conv_weight": 2, "conv_pad": 1, "first_multiplier": 2, "first_offset": 8, "second_multiplier": 2,
        "second_offset": 8,
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_c_arrays_of_a_random_network_hold_the_same_integers(tmp_path, seed):
    program = random_program(seed)
    export(program, tmp_path / "out", fmt="c")

    text = compiled(tmp_path / "out", *COMPILERS[0], printing(arrays(program)))

    values = {line.split()[0]: [int(v) for v in line.split()[2:]] for line in text.splitlines()}
    assert values == {name: value.ravel().tolist() for name, value in arrays(program).items()}


@pytest.mark.parametrize(("compiler", "standard", "suffix"), COMPILERS)
def test_c_macros_hold_what_is_not_an_array(tmp_path, compiler, standard, suffix):
    export(extreme_program(), tmp_path / "out", fmt="c")
    expected = {
        "ADDAX_INPUT_CHANNELS": 1, "ADDAX_INPUT_HEIGHT": 1, "ADDAX_INPUT_WIDTH": 1, "ADDAX_CLASSES": 2,
        "FIRST_SHIFT": 31, "FIRST_LO": 3, "FIRST_HI": 65534, "SECOND_SHIFT": 0, "SECOND_LO": -(2**55),
        "SECOND_HI": 2**55 - 1, "SECOND_RESIDUAL_MULTIPLIER": -32767,
    }  # fmt: skip

    source = "".join(f'printf("{name} %lld\\n", (long long){name});\n' for name in expected)
    text = compiled(tmp_path / "out", compiler, standard, suffix, source)

    assert {line.split()[0]: int(line.split()[1]) for line in text.splitlines()} == expected
