"""What a user may name as a network, and what is said about everything else."""

import itertools
import json
import re
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models import data
from addax.models.files.checkpoint import Recipe, load_checkpoint, save_checkpoint
from addax.models.nets import zoo
from addax.models.training.loop import accuracy
from addax.quant import golden
from addax.quant.files.archive import program_bytes
from addax.quant.program import Convolution
from addax.quant.quantize import CALIBRATION_IMAGES, Evaluation, evaluate, float_accuracy, quantize
from safetensors.torch import save_file

FACTORIES = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, pixels=256):
            super().__init__()
            self.flat = nn.Flatten()
            self.fc = nn.Linear(pixels, 10)

        def forward(self, x):
            return self.fc(self.flat(x))

    def seeded():
        torch.manual_seed(5)
        net = Net()
        net.train()
        return net

    def for_larger_images():
        return Net(784)

    def number():
        return 3

    def needs_an_argument(size):
        return Net(size)

    def fails():
        raise RuntimeError("no GPU here")

    value = 3
"""


def call(source, **changes):
    arguments = {"kernel": None, "weights": None, "bits": 8, "data_source": "digits", **changes}
    return quantize(source, **arguments)


def content(program):
    """All of a Program but where it comes from."""
    return program_bytes(replace(program, metadata={}))


def refused(message):
    return pytest.raises(UserError, match=rf"\A(?!.*\n).*{message}")


def network(kernel="adder", shape=(1, 16, 16), classes=10):
    torch.manual_seed(1)
    return zoo.build("lenet5", kernel=kernel, shape=shape, classes=classes)


def checkpoint(path, kernel="adder", shape=(1, 16, 16)):
    recipe = Recipe(
        network="lenet5", kernel=kernel, shape=shape, classes=10, data="digits", seed=0, epochs=1, accuracy=0.5
    )
    save_checkpoint(path, network(kernel, shape), recipe)
    return path


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of one's own in the current folder, as ``name``; each test has another, for Python keeps modules."""
    monkeypatch.chdir(tmp_path)
    name = f"own_{next(COUNTER)}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(FACTORIES))
    yield name
    sys.modules.pop(name, None)


COUNTER = itertools.count()


# What is accepted


@pytest.mark.parametrize(("kernel", "expected"), [(None, "adder"), ("adder", "adder"), ("mult", "mult")])
def test_network_of_the_zoo_brings_its_weights(kernel, expected):
    program = call("lenet5", kernel=kernel, bits=6)

    middle = [op for op in program.ops if isinstance(op, Convolution)][1:-1]
    assert {op.kernel for op in middle} == {expected}
    assert {key: program.metadata[key] for key in ("network", "kernel", "bits")} == {
        "network": "lenet5", "kernel": expected, "bits": "6",
    }  # fmt: skip
    assert program.metadata["calibration"] == f"{CALIBRATION_IMAGES} images of the train split of digits"
    assert float(program.metadata["float_accuracy"]) == pytest.approx(
        float_accuracy("lenet5", expected, "digits"), abs=1 / 360
    )


def test_quantising_repeats_itself():
    assert program_bytes(call("lenet5")) == program_bytes(call("lenet5"))


def test_weights_of_ones_own_replace_the_shipped_ones(tmp_path):
    path = checkpoint(tmp_path / "own.safetensors")

    program = call("lenet5", weights=path)

    assert program.metadata["float_accuracy"] == "0.500000"
    assert program.metadata["weights"] == "own.safetensors"
    assert content(program) != content(call("lenet5"))
    assert content(program) == content(call(str(path)))


def test_checkpoint_brings_kernel_and_shape(tmp_path):
    path = checkpoint(tmp_path / "own.safetensors", kernel="mult", shape=(1, 24, 24))

    program = call(str(path))

    assert program.metadata["kernel"] == "mult"
    assert program.input.shape == (1, 24, 24)


def test_factory_of_ones_own_is_found_beside_the_user(module, digits):
    program = call(f"{module}:seeded")

    assert {name: text for name, text in program.metadata.items() if name != "origins"} == {
        "network": "seeded", "kernel": "own", "bits": "8", "source": f"{module}:seeded",
        "calibration": f"{CALIBRATION_IMAGES} images of the train split of digits",
    }  # fmt: skip
    assert json.loads(program.metadata["origins"]) == {"flat": "flat", "scores": "fc"}
    torch.manual_seed(5)
    net = sys.modules[module].Net()
    assert evaluate(program, digits).accuracy == pytest.approx(accuracy(net, digits), abs=0.03)


def test_class_and_kernel_name_are_taken(module):
    assert call(f"{module}:Net", kernel="mine").metadata["kernel"] == "mine"


def test_factory_in_a_package_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"own_{next(COUNTER)}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "nets.py").write_text(textwrap.dedent(FACTORIES))

    program = call(f"{name}.nets:Net")

    assert program.metadata["network"] == "Net"
    for loaded in (name, f"{name}.nets"):
        sys.modules.pop(loaded)


def test_search_path_is_left_as_it_was(module):
    before = list(sys.path)

    call(f"{module}:Net")
    with refused("has no 'nothing'"):
        call(f"{module}:nothing")

    assert sys.path == before


def test_weights_are_loaded_into_a_factory(module, tmp_path):
    weight = torch.zeros(10, 256)
    weight[7] = 1.0
    save_file({"fc.weight": weight, "fc.bias": torch.zeros(10)}, tmp_path / "own.safetensors")

    program = call(f"{module}:Net", weights=tmp_path / "own.safetensors")

    images = np.full((2, 1, 16, 16), 9, np.uint8)
    assert golden.run(program, images).classes.tolist() == [7, 7]


def test_images_for_calibration_are_the_first_of_the_training_split(tmp_path, module):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 16, 16), dtype=np.uint8), np.zeros(40, int)
    np.savez(tmp_path / "set.npz", train_x=x, train_y=y, test_x=x[:1], test_y=y[:1])

    program = call(f"{module}:seeded", data_source=str(tmp_path / "set.npz"))

    assert program.metadata["calibration"] == "40 images of the train split of set.npz"


# What is refused


@pytest.mark.parametrize("source", ["vgg", "", ".", "LeNet5", "lenet5.addax"])
def test_unknown_network_is_refused(source):
    with refused(f"unknown network '{source}'; known: lenet5"):
        call(source)


@pytest.mark.parametrize("kernel", ["nand", "Adder"])
def test_unknown_kernel_is_refused(kernel):
    with refused(f"unknown kernel '{kernel}'; known: adder, mult, xnor, shift"):
        call("lenet5", kernel=kernel)


@pytest.mark.parametrize("bits", [-8, 0, 1, 17])
def test_bits_outside_two_to_sixteen_are_refused(bits):
    with refused(rf"bits must be in 2\.\.16, not {bits}"):
        call("lenet5", bits=bits)


def test_onnx_file_takes_neither_kernel_nor_weights(tmp_path):
    for extra in ({"kernel": "adder"}, {"weights": tmp_path / "own.safetensors"}):
        with refused("an ONNX file holds its own kernel and weights; leave --kernel and --weights out"):
            call("net.onnx", **extra)


def test_missing_onnx_file_is_refused(tmp_path):
    with refused(r"no file at .*gone\.onnx; expected an ONNX file"):
        call(str(tmp_path / "gone.onnx"))


def test_network_without_weights_is_refused(monkeypatch):
    monkeypatch.setattr(zoo, "shipped_checkpoint", lambda name, kernel: None)

    with refused("no checkpoint comes with lenet5, kernel mult; train one and name it with --weights"):
        call("lenet5", kernel="mult")


def test_missing_checkpoint_is_refused(tmp_path):
    with refused(r"gone\.safetensors"):
        call(str(tmp_path / "gone.safetensors"))
    with refused(r"gone\.safetensors"):
        call("lenet5", weights=tmp_path / "gone.safetensors")


def test_weights_of_another_kernel_are_refused(tmp_path):
    path = checkpoint(tmp_path / "own.safetensors", kernel="mult")

    with refused(r"own\.safetensors holds lenet5 with kernel mult, not lenet5 with adder"):
        call("lenet5", weights=path)


@pytest.mark.parametrize("extra", [{"kernel": "adder"}, {"weights": "own.safetensors"}])
def test_checkpoint_takes_neither_kernel_nor_weights(tmp_path, extra):
    with refused("holds its own kernel and weights; leave --kernel and --weights out"):
        call(str(checkpoint(tmp_path / "own.safetensors")), **extra)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_checkpoint_with_broken_numbers_is_refused(tmp_path, value):
    path = checkpoint(tmp_path / "own.safetensors")
    module = network()
    with torch.no_grad():
        module.fc1.weight[0, 0] = value
    recipe = Recipe(network="lenet5", kernel="adder", shape=(1, 16, 16), classes=10, data="digits", seed=0, epochs=1,
                    accuracy=0.5)  # fmt: skip
    save_checkpoint(path, module, recipe)

    with refused("'fc1.weight' of .* NaN or infinite"):
        call(str(path))


def test_unknown_data_is_refused(tmp_path):
    with refused("no data at"):
        call("lenet5", data_source=str(tmp_path / "gone"))


def test_data_of_another_shape_are_refused(tmp_path):
    np.savez(tmp_path / "set.npz", train_x=np.zeros((4, 28, 28), np.uint8), train_y=np.zeros(4, int))

    with refused("1x28x28 .* the network takes 1x16x16"):
        call("lenet5", data_source=str(tmp_path / "set.npz"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{}:nothing", "module '{}' has no 'nothing'"),
        ("{}:", "module '{}' has no ''"),
        ("{}:number", "{}:number must return a torch.nn.Module, not int"),
        ("{}:value", "{}:value"),
        ("{}:needs_an_argument", "{}:needs_an_argument"),
        ("{}:fails", "no GPU here"),
        ("{}:for_larger_images", "784|256"),
        ("{}_gone:Net", "cannot import '{}_gone'"),
        ("{}.sub:Net", "cannot import '{}.sub'"),
        (":Net", "cannot import ''"),
        ("..{}:Net", "cannot import '..{}'"),
    ],
)
def test_factory_that_gives_no_network_is_refused(module, source, message):
    with refused(message.format(re.escape(module))):
        call(source.format(module))


@pytest.mark.parametrize("text", ["def f(:\n", "1 / 0\n", "import nothing_of_this_name\n"])
def test_module_that_cannot_be_imported_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    name = f"own_{next(COUNTER)}"
    (tmp_path / f"{name}.py").write_text(text)

    with refused(f"cannot import '{name}'"):
        call(f"{name}:Net")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"fc.weight": torch.zeros(10, 256)}, "own.safetensors does not fit .*fc.bias"),
        ({"fc.weight": torch.zeros(10, 255), "fc.bias": torch.zeros(10)}, "does not fit .*fc.weight"),
        (
            {"fc.weight": torch.zeros(10, 256), "fc.bias": torch.full((10,), torch.inf)},
            "'fc.bias' of .*NaN or infinite",
        ),
        ({}, "own.safetensors does not fit"),
    ],
    ids=["missing", "shape", "infinite", "empty"],
)
def test_weights_that_do_not_fit_a_factory_are_refused(module, tmp_path, tensors, message):
    save_file(tensors, tmp_path / "own.safetensors")

    with refused(message):
        call(f"{module}:Net", weights=tmp_path / "own.safetensors")


@pytest.mark.parametrize("content", [None, b"", b"garbage"], ids=["missing", "empty", "garbage"])
def test_weights_that_are_no_safetensors_are_refused(module, tmp_path, content):
    if content is not None:
        (tmp_path / "own.safetensors").write_bytes(content)

    with refused("cannot read weights .*own.safetensors"):
        call(f"{module}:Net", weights=tmp_path / "own.safetensors")


# Evaluation


def test_evaluation_counts_what_the_golden_model_decides(lenet, digits):
    program = lenet("adder", 4)
    some = digits.head(50)
    wrong = data.Images(x=some.x, y=(golden.run(program, some.x).classes + (np.arange(50) < 20)) % 10)

    result = evaluate(program, wrong)

    assert (result.images, result.correct, result.accuracy) == (50, 30, 0.6)
    assert result.seconds > 0


def test_evaluation_has_the_keys_that_scripts_read():
    keys = Evaluation(images=200, correct=150, seconds=0.5).keys()

    assert keys == {"images": 200, "correct": 150, "accuracy": 0.75, "images_per_second": 400.0}
    assert Evaluation(images=1, correct=1, seconds=0.0).keys()["images_per_second"] > 0


def test_float_accuracy_is_that_of_the_shipped_network(digits):
    module, _ = load_checkpoint(zoo.shipped_checkpoint("lenet5", "mult"))

    assert float_accuracy("lenet5", "mult", "digits") == accuracy(module, digits)
