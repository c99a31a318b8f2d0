"""Whatever comes in, by the command line: success, or exit status 1 and one line that says what was expected and what
came. Never an internal error, code that runs, a full memory or a wait without end.
"""

import gzip
import json
import os
import shutil
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from addax.cli import main
from limits import bounded_memory
from safetensors.numpy import save_file

CASES = Path(__file__).resolve().parents[1] / ".." / "shared" / "cases" / "hostile"


@pytest.fixture(scope="module", autouse=True)
def bounded(made):
    """A reader without a bound ends in a MemoryError, not in a machine without memory."""
    with bounded_memory():
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A program and its build."""
    folder = tmp_path_factory.mktemp("made")
    assert main(["quantize", "lenet5", "-o", str(folder / "net.addax")]) == 0
    assert main(["generate", str(folder / "net.addax"), "--lanes", "40", "-o", str(folder / "build")]) == 0
    return folder


def metadata_alone(text):
    """A safetensors file of nothing but our header."""
    header = json.dumps({"__metadata__": {"addax": text}}).encode()
    return struct.pack("<Q", len(header)) + header


def write_all(folder):
    """What is easily made: things that are no files, and texts that are too deep."""
    deep = "[" * 200_000
    for name in ("deep.addax", "deep.json", "deep.onnx"):
        (folder / name).write_text(deep)
    for name in ("inside.addax", "inside.safetensors"):
        (folder / name).write_bytes(metadata_alone(deep))
    (folder / "objects.safetensors").write_bytes(metadata_alone('{"a":' * 200_000))
    for suffix in ("addax", "safetensors", "json", "npz", "pt", "saif", "onnx"):
        os.mkfifo(folder / f"pipe.{suffix}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket.json"))
    (folder / "folder.addax").mkdir()
    (folder / "zero.saif").write_bytes(bytes(1 << 20))
    (folder / "idx").mkdir()
    header = struct.pack(">4I", 0x803, 4_000_000, 28, 28)
    (folder / "idx" / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + bytes(10_000)))
    (folder / "idx" / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">2I", 0x801, 1) + b"\0"))
    save_file({"a": np.zeros(3)}, folder / "foreign.safetensors")
    torch.save({"weight": torch.zeros(3)}, folder / "foreign.pt")


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A folder of its own that holds the hostile files, a program and a build."""
    write_all(tmp_path)
    shutil.copy(made / "net.addax", tmp_path)
    (tmp_path / "build").symlink_to(made / "build")
    (tmp_path / "cases").symlink_to(CASES)
    shutil.copy(CASES / "victim" / "payload.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(file, *options):
    return ["evaluate", file, "--data", "digits", *options]


def quantize(*options):
    return ["quantize", *options, "-o", "out.addax"]


def data(name):
    return ["evaluate", "net.addax", "--data", name]


def plan(name):
    return ["generate", "net.addax", "--plan", name, "-o", "out"]


ONE_LINE = [
    (evaluate("cases/f8.addax"), "tensor 'conv1.weight' is of type F8_E4M3"),
    (evaluate("cases/true.addax"), "shape must be three positive integers, not (True, 16, 16)"),
    (evaluate("cases/trace_exec.addax", "--trace"), "which is code; to run that, type it: --float payload:run"),
    (evaluate("cases/trace_abort.addax", "--trace"), "which is code; to run that, type it: --float os:abort"),
    (evaluate("deep.addax"), "deep.addax is not an .addax file"),
    (evaluate("inside.addax"), "its values are nested too deeply"),
    (evaluate("pipe.addax"), "no file at pipe.addax; expected an .addax file"),
    (evaluate("folder.addax"), "no file at folder.addax"),
    (evaluate("/dev/zero"), "no file at /dev/zero"),
    (evaluate("foreign.safetensors"), "foreign.safetensors is a safetensors file, but not an .addax file"),
    (quantize("cases/r_classes.safetensors"), "classes must be at most 65536, not 2147483648"),
    (quantize("cases/r_acc_str.safetensors"), "accuracy must be in 0..1, not 'high'"),
    (quantize("cases/r_bits_str.safetensors"), "bits must be in 2..16, or missing, not '8'"),
    (quantize("inside.safetensors"), "its values are nested too deeply"),
    (quantize("objects.safetensors"), "its values are nested too deeply"),
    (quantize("pipe.safetensors"), "no file at pipe.safetensors"),
    (quantize("lenet5", "--weights", "pipe.pt"), "no file at pipe.pt"),
    (quantize("lenet5", "--weights", "foreign.pt"), "foreign.pt does not fit lenet5"),
    (quantize("lenet5", "--weights", "/dev/zero"), "no file at /dev/zero"),
    (quantize("lfc-w1a1", "--weights", "/dev/zero"), "no file at /dev/zero"),
    (quantize("addernet-resnet20", "--weights", "/dev/zero"), "no file at /dev/zero"),
    (quantize("pipe.pt"), "pipe.pt holds weights, but not which network they are of"),
    (quantize("pipe.onnx"), "it is a named pipe, not a regular file"),
    (data("cases/labels.npz"), "there is a label 18446744073709551615"),
    (data("cases/notnpy.npz"), "cannot read cases/notnpy.npz as .npz"),
    (data("cases/img16"), "16 bits, up to 63000, which 8 do not hold"),
    (data("idx"), "would unpack to 3,136,000,000; that is no real data"),
    (data("/dev/zero"), "no data at '/dev/zero'"),
    (data("pipe.npz"), "no data at 'pipe.npz'"),
    (plan("/dev/zero"), "cannot read plan /dev/zero: it is a device, not a regular file"),
    (plan("pipe.json"), "cannot read plan pipe.json: it is a named pipe, not a regular file"),
    (plan("socket.json"), "cannot read plan socket.json"),
    (plan("deep.json"), "deep.json is not a plan: its values are nested too deeply"),
    (plan("net.addax"), "net.addax is not a plan"),
    (["report", "build", "--power", "--saif", "/dev/zero", "-o", "out"], "it is a device, not a regular file"),
    (["report", "build", "--power", "--saif", "pipe.saif", "-o", "out"], "it is a named pipe, not a regular file"),
    (["report", "build", "--power", "--saif", "zero.saif", "-o", "out"], "not a SAIF file of one net per line"),
    (["simulate", "build", "--data", "digits", "--weights", "pipe.addax"], "no file at pipe.addax"),
    (["export", "build", "--format", "mem", "--weights", "/dev/zero", "-o", "out"], "no file at /dev/zero"),
    (["generate", "net.addax", "--prefix", "always_ff", "-o", "out"], "no reserved word, not 'always_ff'"),
]


@pytest.mark.parametrize(("arguments", "message"), ONE_LINE, ids=lambda value: " ".join(value) if value else "")
def test_bad_input_ends_in_one_line(arguments, message, here, capsys):
    """Every file of ../shared/cases/hostile but those of ONNX, and the list in its README."""
    assert main(arguments) == 1

    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("addax: ")]
    assert len(lines) == 1 and message in lines[0], lines
    assert not (here / "EXECUTED").exists() and not (here / "out").exists() and not (here / "out.addax").exists()


@pytest.mark.parametrize("name", ["cases/const_noattr.onnx", "cases/dtype99.onnx", "deep.onnx"])
def test_bad_onnx_ends_in_one_line(name, here, capsys):
    assert main(quantize(name)) == 1

    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("addax: ") and Path(name).name in line and "internal error" not in line


def test_every_hostile_file_is_tried():
    """None is left out."""
    named = {part for arguments, _ in ONE_LINE for part in arguments if part.startswith("cases/")}
    named |= {"cases/const_noattr.onnx", "cases/dtype99.onnx"}
    there = {f"cases/{path.name}" for path in CASES.iterdir() if path.name != "victim"}

    assert named == there
