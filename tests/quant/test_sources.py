"""Where a float network comes from: what a person typed may run code, what a file says never does; and no path, no
folder of the machine stands in a file."""

import itertools
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from addax.cli import main
from addax.common.errors import UserError
from addax.models.files.checkpoint import Recipe, save_checkpoint
from addax.models.nets import zoo
from addax.quant.files.archive import load_program, program_bytes, save_program
from addax.quant.quantize import quantize, trace_program
from safetensors.torch import save_file

COUNTER = itertools.count()
NET = """
import pathlib
from torch import nn
pathlib.Path("EXECUTED").touch()

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
"""


def network(kernel="adder", classes=10, shape=(1, 16, 16)):
    torch.manual_seed(1)
    return zoo.build("lenet5", kernel=kernel, classes=classes, shape=shape)


def checkpoint(path, kernel="adder", accuracy=0.5):
    path.parent.mkdir(exist_ok=True, parents=True)
    recipe = Recipe(
        network="lenet5", kernel=kernel, shape=(1, 16, 16), classes=10, data="digits", seed=0, epochs=1,
        accuracy=accuracy,
    )  # fmt: skip
    save_checkpoint(path, network(kernel), recipe)
    return path


def made(source, weights=None, kernel=None):
    return quantize(source, kernel=kernel, weights=weights, bits=8, data_source="digits")


def refused(message):
    return pytest.raises(UserError, match=rf"\A(?!.*\n).*{message}")


@pytest.fixture
def factory(tmp_path, monkeypatch):
    """A module that leaves a file when it is imported, in the current folder."""
    monkeypatch.chdir(tmp_path)
    name = f"made_{next(COUNTER)}"
    (tmp_path / f"{name}.py").write_text(NET)
    yield name
    sys.modules.pop(name, None)


def test_a_program_of_a_factory_runs_it_only_when_a_person_types_it(factory, tmp_path, capsys):
    """The file's own words reach neither the import system nor the network's code."""
    assert main(["quantize", f"{factory}:make", "-o", "net.addax"]) == 0
    (tmp_path / "EXECUTED").unlink()
    sys.modules.pop(factory)

    evaluate = ["evaluate", "net.addax", "--data", "digits", "--limit", "5", "--trace"]
    assert main(evaluate) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"made by '{factory}:make', which is code; to run that, type it: --float {factory}:make" in line
    assert factory not in sys.modules and not (tmp_path / "EXECUTED").exists()

    assert main([*evaluate, "--float", f"{factory}:make"]) == 0
    assert (tmp_path / "EXECUTED").exists()


@pytest.mark.parametrize("name", ["trace_exec.addax", "trace_abort.addax"])
def test_hostile_programs_run_nothing(name, tmp_path, monkeypatch, capsys):
    """``os:abort`` would end this very process; ``payload:run`` would leave a file."""
    cases = Path(__file__).resolve().parents[2] / ".." / "shared" / "cases" / "hostile"
    shutil.copy(cases / "victim" / "payload.py", tmp_path)
    monkeypatch.chdir(tmp_path)

    assert main(["evaluate", str(cases / name), "--data", "digits", "--limit", "3", "--trace"]) == 1

    assert "which is code; to run that, type it: --float" in capsys.readouterr().err
    assert not (tmp_path / "EXECUTED").exists() and "payload" not in sys.modules


@pytest.mark.parametrize("weights", [False, True], ids=["checkpoint", "weights"])
def test_a_file_is_the_same_from_every_folder_and_holds_no_path(weights, tmp_path, monkeypatch):
    """Absolute or relative, here or there: a name and a checksum are all that is kept."""
    contents = set()
    for where, typed in (("a", "deep/own.safetensors"), ("b", str(tmp_path / "b" / "deep" / "own.safetensors"))):
        checkpoint(tmp_path / where / "deep" / "own.safetensors")
        monkeypatch.chdir(tmp_path / where)
        contents.add(program_bytes(made("lenet5", Path(typed)) if weights else made(typed)))

    (content,) = contents
    assert str(tmp_path).encode() not in content and b"deep" not in content
    assert b"own.safetensors" in content


def test_a_data_set_is_named_without_its_folders(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    (tmp_path / "a" / "b").mkdir(parents=True)
    np.savez(tmp_path / "a" / "set.npz", train_x=rng.integers(0, 256, (20, 16, 16), dtype=np.uint8),
             train_y=np.zeros(20, int))  # fmt: skip
    monkeypatch.chdir(tmp_path / "a" / "b")

    program = quantize("lenet5", kernel=None, weights=None, bits=8, data_source="../set.npz")

    assert program.metadata["calibration"] == "20 images of the train split of set.npz"


def test_a_trace_finds_the_checkpoint_by_name_and_checksum(tmp_path, monkeypatch, digits):
    """Beside the program or in the current folder; one that has changed is not taken."""
    path = checkpoint(tmp_path / "made" / "own.safetensors")
    program = made(str(path))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")

    assert trace_program(program, digits.head(5), source=None, weights=None, folder=path.parent).images == 5
    with refused("weights 'own.safetensors', which lie neither beside it nor in the current folder.*--float"):
        trace_program(program, digits.head(5), source=None, weights=None, folder=tmp_path)
    monkeypatch.chdir(path.parent)
    assert trace_program(program, digits.head(5), source=None, weights=None, folder=tmp_path).images == 5
    checkpoint(path, accuracy=0.6)
    with refused("or have changed since; name the file with --float"):
        trace_program(program, digits.head(5), source=None, weights=None, folder=path.parent)
    assert trace_program(program, digits.head(5), source=str(path), weights=None).images == 5


def test_a_trace_finds_the_weights_of_a_network_of_the_zoo(tmp_path, monkeypatch, digits):
    path = checkpoint(tmp_path / "made" / "own.safetensors", kernel="mult")
    program = made("lenet5", path, kernel="mult")
    monkeypatch.chdir(tmp_path)

    assert trace_program(program, digits.head(5), source=None, weights=None, folder=path.parent).images == 5
    with refused("name the file with --weights"):
        trace_program(program, digits.head(5), source=None, weights=None)
    assert trace_program(program, digits.head(5), source=None, weights=path).images == 5


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"source": "os:abort"}, "made by 'os:abort', which is code.*--float os:abort"),
        ({"source": "os:abort", "weights": "w"}, "--float os:abort --weights FILE"),
        ({"source": "/etc/secret.safetensors"}, "'secret.safetensors' and does not say their checksum"),
        ({"source": "../own.safetensors", "weights_sha256": "OWN"}, "neither beside it nor"),
        ({"source": "own.safetensors", "weights_sha256": "0" * 64}, "have changed since"),
        ({"source": "own.safetensors"}, "does not say their checksum; name the file with --float"),
        ({"source": "lenet5", "weights": "/dev/zero", "weights_sha256": "OWN"}, "'zero', which lie neither"),
        ({"source": "own.pt"}, "made of 'own.pt', which addax does not know"),
        ({"source": "resnet\x1b[2J"}, r"made of 'resnet\\x1b\[2J', which addax does not know"),
        ({"source": "lenet5", "kernel": "nand"}, "unknown kernel 'nand'"),
    ],
    ids=str,
)
def test_what_a_file_says_of_its_origin_opens_nothing_else(metadata, message, tmp_path, monkeypatch, digits):
    """Paths, devices, folders above: only a plain name whose checksum fits is opened."""
    import hashlib

    path = checkpoint(tmp_path / "own.safetensors")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    if metadata.get("weights_sha256") == "0" * 64:
        shutil.copy(path, tmp_path / "here")
    own = hashlib.sha256(path.read_bytes()).hexdigest()
    said = {key: own if value == "OWN" else value for key, value in metadata.items()}
    program = replace(made("lenet5"), metadata={"origins": "{}", **said})

    with refused(message):
        trace_program(program, digits.head(2), source=None, weights=None, folder=tmp_path / "here")


def test_an_unknown_network_lists_all_that_are_known():
    with refused(
        r"unknown network 'vgg'; known: lenet5, vgg-small, resnet20, resnet32, resnet18, resnet34, resnet50, "
        r"mobilenet-v2, efficientnet-b0, .*, ghostsr-x4, .*, ipt "
        r"\(with --kernel\), addernet-resnet20, lfc-w1a1, cnv-w1a1 \(with --weights\); "
        r"or a \.safetensors checkpoint, a \.onnx file, package\.module:factory"
    ):
        made("vgg")


WRAPPED = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state},
    "model": lambda state: {"model": state, "optimiser": {"lr": 0.1}},
    "parallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "both": lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
}


@pytest.mark.parametrize("form", WRAPPED)
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_weights_of_torch_are_those_of_safetensors(form, suffix, tmp_path):
    """As training scripts save them; the network of the zoo is the same, to the byte."""
    torch.save(WRAPPED[form](network().state_dict()), tmp_path / f"own{suffix}")
    save_file(network().state_dict(), tmp_path / "bare.safetensors")

    ours, theirs = (
        program_bytes(replace(made("lenet5", tmp_path / name), metadata={}))
        for name in (f"own{suffix}", "bare.safetensors")
    )

    assert ours == theirs == program_bytes(replace(made(str(checkpoint(tmp_path / "c.safetensors"))), metadata={}))


def test_bare_weights_bring_their_classes_and_the_data_their_shape(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "set.npz", train_x=rng.integers(0, 256, (20, 24, 24), dtype=np.uint8),
             train_y=np.zeros(20, int))  # fmt: skip
    torch.save(network(classes=7, shape=(1, 24, 24)).state_dict(), tmp_path / "own.pt")

    program = quantize(
        "lenet5", kernel=None, weights=str(tmp_path / "own.pt"), bits=8, data_source=str(tmp_path / "set.npz")
    )

    assert program.classes == 7 and program.input.shape == (1, 24, 24)


def test_weights_of_torch_go_into_a_factory(factory, tmp_path):
    """And a trace asks for them by name and checksum, as for any others, once the factory is typed."""
    state = {"1.weight": torch.zeros(10, 256), "1.bias": torch.arange(10) / 10}
    torch.save(state, tmp_path / "own.pt")

    program = made(f"{factory}:make", tmp_path / "own.pt")

    assert program.metadata["weights"] == "own.pt" and len(program.metadata["weights_sha256"]) == 64


class Net(torch.nn.Module):
    """Saved whole, it would need this very class, hence code."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Net(), r"own\.pt is broken, or holds other objects than tensors \(.*Net, which would have to be run\)"),
        ({"state_dict": Net()}, r"holds other objects than tensors \(.*Net"),
        ([1, 2], "own.pt is not a state dictionary of tensors"),
        ({"weight": 3}, "own.pt is not a state dictionary of tensors"),
        ({"weight": torch.eye(3).to_sparse()}, "tensor 'weight' of .*own.pt is .*sparse"),
        ({"weight": torch.zeros(3, dtype=torch.complex64)}, "tensor 'weight' of .*own.pt is torch.complex64"),
        ({"weight": torch.zeros(3)}, r"own\.pt does not fit lenet5: missing .*conv1\.weight.*unknown weight"),
        ({}, r"own\.pt does not fit lenet5: missing .*conv1\.weight"),
    ],
    ids=["module", "module-inside", "list", "number", "sparse", "complex", "foreign", "empty"],
)
def test_files_of_torch_that_are_no_weights_are_refused(content, message, tmp_path):
    torch.save(content, tmp_path / "own.pt")

    with refused(message):
        made("lenet5", tmp_path / "own.pt")


@pytest.mark.parametrize(
    "content", [None, b"", b"text", b"PK\3\4" + bytes(60)], ids=["missing", "empty", "text", "zip"]
)
def test_broken_files_of_torch_are_refused(content, tmp_path):
    if content is not None:
        (tmp_path / "own.pt").write_bytes(content)

    with refused("own.pt"):
        made("lenet5", tmp_path / "own.pt")


def test_weights_alone_are_no_network(tmp_path):
    torch.save(network().state_dict(), tmp_path / "own.pt")

    with refused("own.pt holds weights, but not which network they are of; .* --weights .*own.pt"):
        made(str(tmp_path / "own.pt"))


def test_names_of_files_may_be_text(tmp_path, digits):
    """Python functions take ``str`` where they take a path."""
    path = checkpoint(tmp_path / "own.safetensors")
    program = quantize("lenet5", kernel=None, weights=str(path), bits=8, data_source="digits")
    save_program(str(tmp_path / "net.addax"), program)

    loaded = load_program(str(tmp_path / "net.addax"))

    assert program_bytes(loaded) == program_bytes(program)
    assert trace_program(loaded, digits.head(3), source=str(path), weights=None).images == 3
    assert json.loads(loaded.metadata["origins"])
