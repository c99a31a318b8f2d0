"""Exports: the same integers for numpy and for C, with a manifest that says everything else."""

import hashlib
import json
import shutil
import struct
import subprocess
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.models.nets import zoo
from addax.quant import golden
from addax.quant.export import FORMATS, export
from addax.quant.files.archive import program_bytes
from addax.quant.files.npz import import_npz, read_npz
from addax.quant.formats import Format
from addax.quant.onnx.read import import_onnx
from addax.quant.program import Threshold
from choosing_networks import random_choosing
from graphs import EXTREMES, NAMED, extreme_program, named
from networks import random_bending, random_images, random_program, random_reshaping
from token_networks import random_tokens

ANY = [fmt for fmt in FORMATS if fmt != "qcdq"]
"""Formats that say every Program."""

IMAGES = 100
KERNELS = tuple(kernel for kernel in zoo.KERNELS if zoo.shipped_checkpoint("lenet5", kernel) is not None)


def arrays(program):
    """Every tensor of a Program by the name that an export gives it."""
    found = {}
    for op in program.ops:
        own = ("shift", "residual_multiplier", "knee")  # arrays only where channels have their own
        own += ("second", "second_offset", "value", "entries", "mask", "powers")
        for role in ("weight", "pad", "multiplier", "offset", "thresholds", "falling", "offsets", *own):
            if isinstance(getattr(op, role, None), np.ndarray):
                found[f"{op.name}_{role}"] = getattr(op, role)
    return found


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


@pytest.mark.parametrize("name", NAMED)
def test_numpy_reader_gives_the_same_integers(tmp_path, name):
    program = named(name)

    tensors = read_npz(export(program, tmp_path / "out", fmt="npz"))

    expected = arrays(program)
    assert tensors.keys() == expected.keys()
    for name, value in tensors.items():
        assert value.dtype == np.int64 and value.shape == expected[name].shape
        assert np.array_equal(value, expected[name])


@pytest.mark.parametrize("name", NAMED)
def test_npz_is_read_back_to_the_same_program(tmp_path, name):
    """Program to export to import to golden model: identical integers."""
    program = named(name)

    again = import_npz(export(program, tmp_path / "out", fmt="npz"))

    assert program_bytes(again) == program_bytes(program)
    images = random_images(program, IMAGES, 0)
    assert np.array_equal(golden.run(program, images).scores, golden.run(again, images).scores)


@pytest.mark.parametrize("kernel", KERNELS)
def test_lenet5_is_read_back_to_the_same_program(tmp_path, lenet, kernel):
    program = lenet(kernel, 8)

    again = import_npz(export(program, tmp_path / "out", fmt="npz"))

    assert program_bytes(again) == program_bytes(program)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["operations"][1].update(op="Fold"), "unknown operation 'Fold'"),
        (lambda m: m["operations"][1].update(source="nowhere"), "'nowhere'"),
        (lambda m: m["operations"][2].update(shift=99), "shift must be in 0..47"),
        (lambda m: m["operations"][2].pop("shift"), "shift"),
        (lambda m: m.pop("operations"), "operations"),
    ],
)
def test_manifest_that_describes_no_program_is_refused(exported, change, message):
    manifest = manifest_of(exported)
    change(manifest)
    (exported / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(UserError, match=f"out does not hold a program: .*{message}"):
        import_npz(exported)


def test_plain_numpy_can_read_the_file(tmp_path):
    export(extreme_program(), tmp_path / "out", fmt="npz")

    with np.load(tmp_path / "out" / "weights.npz") as archive:
        assert {name: archive[name].ravel().tolist() for name in archive.files} == EXTREMES


# The manifest


@pytest.mark.parametrize("fmt", ANY)
def test_manifest_describes_every_tensor(tmp_path, fmt):
    export(extreme_program(), tmp_path / "out", fmt=fmt)

    manifest = manifest_of(tmp_path / "out")

    assert (manifest["format"], manifest["program"]) == (fmt, {"network": "tiny", "bits": "16"})
    assert manifest["file"] in manifest["files"]
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest
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


@pytest.mark.parametrize("fmt", ANY)
def test_manifest_describes_every_operation(tmp_path, fmt):
    export(extreme_program(), tmp_path / "out", fmt=fmt)

    first, second = manifest_of(tmp_path / "out")["operations"][2:4]

    assert first == {
        "name": "first", "op": "Requantise", "source": "conv", "shape": [2, 1, 1], "bits": 16, "signed": False,
        "step": 0.125, "shift": 31, "lo": 3, "hi": 65534, "residual": None, "residual_multiplier": 0,
        "terms": 0,
    }  # fmt: skip
    assert (second["residual"], second["residual_multiplier"], second["step"]) == ("first", -32767, None)


def test_step_of_adder_weights_is_that_of_the_features_they_meet(tmp_path, lenet):
    program = lenet("adder", 8)
    export(program, tmp_path / "out", fmt="npz")

    entries = {entry["name"]: entry for entry in manifest_of(tmp_path / "out")["tensors"]}

    assert entries["conv2_weight"]["step"] == program.steps[program.by_name["conv2"].source] > 0
    assert (entries["conv2_weight"]["bits"], entries["conv2_weight"]["signed"]) == (8, False)
    assert entries["conv1_weight"]["step"] is None, "one step per channel, which M holds"


def test_thresholds_are_described(tmp_path):
    program = named("graph7")
    export(program, tmp_path / "out", fmt="npz")
    op = next(op for op in program.ops if isinstance(op, Threshold))

    entries = {entry["name"]: entry for entry in manifest_of(tmp_path / "out")["tensors"]}

    levels, falling = entries[f"{op.name}_thresholds"], entries[f"{op.name}_falling"]
    assert (levels["order"], levels["shape"]) == ("output, level", list(op.thresholds.shape))
    assert (falling["order"], falling["bits"], falling["signed"]) == ("output", 1, False)


@pytest.mark.parametrize("name", NAMED)
def test_values_fit_the_bits_that_the_manifest_states(tmp_path, name):
    tensors = read_npz(export(named(name), tmp_path / "out", fmt="npz"))

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
    with pytest.raises(UserError, match=f"unknown export format '{fmt}'; known: qonnx, qcdq, npz, c"):
        export(extreme_program(), tmp_path / "out", fmt=fmt)

    assert list(tmp_path.iterdir()) == []


def test_earlier_export_is_replaced_and_a_foreign_folder_is_not(tmp_path):
    export(extreme_program(), tmp_path / "out", fmt="npz")
    export(extreme_program(), tmp_path / "out", fmt="c")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "addax.json", "manifest.json", "network.c", "weights.h",
    ]  # fmt: skip

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("")
    with pytest.raises(UserError, match="mine is not an addax export folder"):
        export(extreme_program(), tmp_path / "mine", fmt="c")


@pytest.mark.parametrize("fmt", FORMATS)
def test_equal_programs_give_equal_exports(tmp_path, fmt):
    for name in ("a", "b"):
        export(named("small"), tmp_path / name, fmt=fmt)

    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert len(names) == (4 if fmt == "c" else 3)
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


# The reference in C


def scores_of(folder, pixels, *flags):
    """What the compiled reference prints: scores and class of every image."""
    warnings = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    subprocess.run(["gcc", *warnings, *(flags or ["-O2"]), "network.c", "-o", "network"], cwd=folder, check=True)
    done = subprocess.run([folder / "network"], input=pixels.tobytes(), capture_output=True, check=True)
    return np.array([[int(word) for word in line.split()] for line in done.stdout.decode().splitlines()])


@pytest.mark.parametrize("name", NAMED)
def test_c_reference_gives_the_scores_of_the_golden_model(tmp_path, name):
    program = named(name)
    images = random_images(program, IMAGES, 0)

    printed = scores_of(export(program, tmp_path / "out", fmt="c"), images)

    expected = golden.run(program, images)
    assert np.array_equal(printed[:, :-1], expected.scores)
    assert np.array_equal(printed[:, -1], expected.classes)


@pytest.mark.parametrize("kernel", KERNELS)
def test_c_reference_classifies_digits_as_the_golden_model(tmp_path, lenet, digits, kernel):
    printed = scores_of(export(lenet(kernel), tmp_path / "out", fmt="c"), digits.x[:IMAGES])

    expected = golden.run(lenet(kernel), digits.x[:IMAGES])
    assert np.array_equal(printed[:, :-1], expected.scores)
    assert np.array_equal(printed[:, -1], expected.classes)


@pytest.mark.parametrize(
    ("make", "seed"),
    [
        *product((random_reshaping, random_bending), range(8)),
        *product([random_choosing], range(2)),
        *product([random_tokens], range(8)),
    ],
)
def test_raw_output_is_that_of_the_golden_model_in_c_and_numpy(tmp_path, seed, make):
    program = make(seed, raw=True)
    images = random_images(program, 20, seed)

    printed = scores_of(export(program, tmp_path / "c", fmt="c"), images)
    again = import_npz(export(program, tmp_path / "npz", fmt="npz"))

    assert np.array_equal(printed, golden.run(program, images).output.reshape(20, -1))
    assert program_bytes(again) == program_bytes(program)


@pytest.mark.parametrize("name", ["extreme", "wide", "moved", "moves4", "graph7", "bends1", "chosen", "tokens1"])
def test_c_reference_has_no_undefined_behaviour(tmp_path, name):
    program = named(name)
    images = random_images(program, 4, 0)

    checks = ["-O1", "-fsanitize=undefined,address", "-fno-sanitize-recover=all"]
    printed = scores_of(export(program, tmp_path / "out", fmt="c"), images, *checks)

    assert np.array_equal(printed[:, :-1], golden.run(program, images).scores)


def test_c_reference_refuses_a_part_of_an_image(tmp_path):
    out = export(named("adder"), tmp_path / "out", fmt="c")
    images = random_images(named("adder"), 1, 0)
    scores_of(out, images)

    done = subprocess.run([out / "network"], input=images.tobytes() + b"1234", capture_output=True, check=False)

    assert done.returncode == 1
    assert done.stderr.decode() == f"the last image has 4 bytes, not {images.size}\n"
    assert len(done.stdout.splitlines()) == 1


def test_names_that_c_macros_cannot_tell_apart_are_refused(tmp_path):
    program = extreme_program()
    ops = tuple(replace(op, name="First") if op.name == "conv" else op for op in program.ops)
    ops = tuple(replace(op, source="First") if op.source == "conv" else op for op in ops)

    with pytest.raises(UserError, match="operations First and first differ only in capitals"):
        export(replace(program, ops=ops), tmp_path / "out", fmt="c")


def test_paths_may_be_text(tmp_path):
    """As everywhere else in Python."""
    program = named("small")

    folder = export(program, str(tmp_path / "out"), fmt="qonnx")

    assert program_bytes(import_onnx(str(folder / "network.onnx"))) == program_bytes(program)
