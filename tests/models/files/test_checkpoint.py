"""Checkpoints come back as they were; whatever else is given as one is refused in one line."""

import contextlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models import checkpoints
from addax.models.files.checkpoint import Recipe, fit, load_checkpoint, save_checkpoint
from addax.models.layers.kernels import KERNELS
from addax.models.nets import zoo
from addax.models.nets.lenet5 import LeNet5
from addax.models.training.loop import accuracy, predict
from addax.models.training.recipe import read_recipe, recipe_of
from safetensors.torch import save_file

SHAPE = (1, 12, 12)
CHECKPOINTS = Path(checkpoints.__file__).parent


def recipe(**changes):
    values = {
        "network": "lenet5", "kernel": "adder", "shape": SHAPE, "classes": 3, "data": "digits", "seed": 7,
        "epochs": 2, "accuracy": 0.75,
    }  # fmt: skip
    return Recipe(**{**values, **changes})


def network(kernel="adder"):
    """A network whose every parameter and statistic differs from its first value."""
    torch.manual_seed(0)
    module = zoo.build("lenet5", kernel=kernel, shape=SHAPE, classes=3)
    with torch.no_grad():
        for value in module.state_dict().values():
            value.copy_(torch.randint(1, 9, value.shape) if not value.is_floating_point() else torch.rand(value.shape))
    return module


def write(path, tensors=None, **header):
    """A checkpoint as a foreign program could write it; ``header`` overrides what stands in it."""
    plain = {"kind": "checkpoint", **vars(recipe())}
    metadata = {"addax": json.dumps({**plain, **header})}
    save_file(network().state_dict() if tensors is None else tensors, path, metadata=metadata)
    return path


@contextlib.contextmanager
def refused(*parts):
    with pytest.raises(UserError) as caught:
        yield
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("kernel", KERNELS)
def test_checkpoint_comes_back(tmp_path, kernel):
    module = network(kernel)
    save_checkpoint(tmp_path / "net.safetensors", module, recipe(kernel=kernel))

    loaded, found = load_checkpoint(tmp_path / "net.safetensors")

    assert found == recipe(kernel=kernel)
    assert isinstance(loaded, LeNet5) and not loaded.training
    before, after = module.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    images = np.random.default_rng(0).integers(0, 256, (4, *SHAPE), dtype=np.uint8)
    assert np.array_equal(predict(loaded, images), predict(module, images))


def test_equal_networks_give_equal_files(tmp_path):
    for name in ("a", "b"):
        save_checkpoint(tmp_path / name, network(), recipe())

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("kernel, least", [("adder", 0.985), ("mult", 0.985), ("shift", 0.985), ("xnor", 0.88)])
def test_shipped_checkpoint_classifies_the_test_digits(digits, kernel, least):
    """What ``addax demo`` stands on: good enough, and no less than the file itself claims."""
    path = zoo.shipped_checkpoint("lenet5", kernel)
    assert path is not None, f"no checkpoint is shipped for kernel {kernel}"

    module, found = load_checkpoint(path)

    assert (found.network, found.kernel, found.shape, found.data) == ("lenet5", kernel, (1, 16, 16), "digits")
    assert len(digits) == 360
    assert accuracy(module, digits) >= least
    assert accuracy(module, digits) == pytest.approx(found.accuracy, abs=1 / 360)


@pytest.mark.parametrize(("kernel", "share"), [("adder", 0.8512), ("mult", 0.8683)])
def test_the_pair_of_residual_networks_is_shipped(kernel, share):
    """What `compare` stands on at this size: one recipe, two kernels, each file small enough for a repository."""
    path = zoo.shipped_checkpoint("resnet20", kernel)

    module, found = load_checkpoint(path)

    assert path.stat().st_size < 1_500_000
    assert (found.kernel, found.data, found.epochs, found.accuracy) == (kernel, "cifar10_jpeg_q75", 43, share)
    assert module(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize("path", sorted(CHECKPOINTS.glob("*mnist-*.safetensors")), ids=lambda path: path.stem)
def test_a_checkpoint_of_mnist_was_trained_by_the_recipe_beside_it(path):
    """It says itself how it was made, and is good enough to be shown."""
    least = {"mnist": {"adder": 0.988, "xnor": 0.98}, "fashion-mnist": {"adder": 0.895}}
    title, _, kernel = path.stem.rpartition("-lenet5-")
    trained, recipe = ("xnor:dorefa", "xnor") if kernel == "xnor" else (kernel, title)

    module, found = load_checkpoint(path)

    assert path.stat().st_size < 1_500_000
    assert (found.network, found.kernel, found.shape) == ("lenet5", trained, (1, 28, 28))
    assert recipe_of(found.training, "file") == read_recipe(CHECKPOINTS / f"{recipe}.toml")
    assert found.accuracy >= least[title].get(kernel, 0.85)
    assert module(torch.zeros(1, 1, 28, 28)).shape == (1, 10)


def test_nothing_is_shipped_for_a_kernel_that_was_not_trained():
    assert zoo.shipped_checkpoint("resnet20", "shift") is None


def test_missing_file_and_folder_are_refused(tmp_path):
    with refused("no file at", "gone.safetensors"):
        load_checkpoint(tmp_path / "gone.safetensors")
    with refused("no file at"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("share", [0, 1e-5, 7e-5, 0.01, 0.5, 0.999])
def test_truncated_file_is_refused(tmp_path, share):
    path = write(tmp_path / "net.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    with refused("net.safetensors is not an addax checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [b"\0" * 64, b"\xff" * 64, b"hello, world", pickle.dumps({"weight": [1.0]})],
    ids=["zeros", "ones", "text", "pickle"],
)
def test_garbage_is_refused(tmp_path, content):
    (tmp_path / "net.safetensors").write_bytes(content)

    with refused("net.safetensors is not an addax checkpoint"):
        load_checkpoint(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    "metadata",
    [
        None, {}, {"format": "pt"}, {"addax": ""}, {"addax": "{"}, {"addax": "{}"}, {"addax": "[]"}, {"addax": "3"},
        {"addax": "null"}, {"addax": '"text"'}, {"addax": '{"kind": "program"}'}, {"addax": '{"kind": "checkpoint"}'},
    ],
    ids=str,
)  # fmt: skip
def test_foreign_safetensors_file_is_refused(tmp_path, metadata):
    save_file({"weight": torch.zeros(3)}, tmp_path / "net.safetensors", metadata=metadata)

    with refused("net.safetensors is a safetensors file, but not an addax checkpoint"):
        load_checkpoint(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "vgg"}, "unknown network 'vgg'"),
        ({"kernel": "nand"}, "unknown kernel 'nand'; known: adder, mult, xnor, shift"),
        ({"shape": [1, 15, 15]}, "not 15x15"),
        ({"colour": "red"}, "not an addax checkpoint"),
        ({"shape": 5}, "not an addax checkpoint"),
        ({"shape": [1, 12]}, "net.safetensors"),
        ({"shape": [1, "a", 12]}, "net.safetensors"),
        ({"shape": [1, 12.0, 12]}, "net.safetensors"),
        ({"shape": [-1, 12, 12]}, "net.safetensors"),
        ({"classes": -3}, "net.safetensors"),
        ({"classes": "three"}, "net.safetensors"),
        ({"network": ["lenet5"]}, "net.safetensors"),
    ],
    ids=str,
)
def test_header_that_makes_no_network_is_refused(tmp_path, change, message):
    with refused(message):
        load_checkpoint(write(tmp_path / "net.safetensors", **change))


def changed(name, value):
    tensors = dict(network().state_dict())
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    return tensors


@pytest.mark.parametrize(
    ("name", "value"),
    [("fc3.weight", torch.zeros(3, 84, 1, 2)), ("bn1.running_mean", torch.zeros(7)), ("fc3.weight", None),
     ("fc4.weight", torch.zeros(1))],
    ids=["kernel-size", "channels", "missing", "surplus"],
)  # fmt: skip
def test_tensors_of_another_network_are_refused_by_name(tmp_path, name, value):
    with refused("net.safetensors does not fit lenet5", name):
        load_checkpoint(write(tmp_path / "net.safetensors", changed(name, value)))


def test_another_number_of_classes_is_refused(tmp_path):
    """Every tensor at fault is named, with both shapes."""
    with refused("net.safetensors does not fit lenet5", "fc3.weight is (3, 84, 1, 1) instead of (4, 84, 1, 1)",
                 "bn5.running_var is (3,) instead of (4,)"):  # fmt: skip
        load_checkpoint(write(tmp_path / "net.safetensors", classes=4))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["conv2.weight", "bn5.running_var"])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, name, value):
    tensor = network().state_dict()[name].clone()
    tensor.view(-1)[-1] = value

    with refused(f"tensor '{name}' of", "net.safetensors", "NaN or infinite"):
        load_checkpoint(write(tmp_path / "net.safetensors", changed(name, tensor)))


# Tensors of whatever source into a network


def test_fit_gives_every_tensor_and_evaluation_mode():
    """Running statistics and counters, too; in any order, and not shared with the source."""
    source, module = network("shift"), zoo.build("lenet5", kernel="shift", shape=SHAPE, classes=3).train()
    tensors = dict(reversed(source.state_dict().items()))

    found = fit(module, tensors, "a file", "lenet5")

    assert found is module and not module.training
    assert all(torch.equal(value, tensors[name]) for name, value in module.state_dict().items())
    tensors["bn1.running_mean"] += 1
    assert not torch.equal(module.state_dict()["bn1.running_mean"], tensors["bn1.running_mean"])


def test_fit_names_every_tensor_at_fault_in_one_line():
    tensors = dict(network().state_dict())
    del tensors["conv2.weight"], tensors["bn1.num_batches_tracked"]
    tensors["fc3.weight"] = torch.zeros(84, 3, 1, 1)
    tensors["bn5.bias"] = torch.zeros(())
    tensors["head.weight"] = torch.full((1,), torch.nan)
    module = network()
    before = {name: value.clone() for name, value in module.state_dict().items()}

    with refused("a file does not fit lenet5: missing bn1.num_batches_tracked, conv2.weight; unknown head.weight; ",
                 "fc3.weight is (84, 3, 1, 1) instead of (3, 84, 1, 1)", "bn5.bias is () instead of (3,)"):  # fmt: skip
        fit(module, tensors, "a file", "lenet5")
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items()), "all or nothing"


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_fit_refuses_what_is_no_number(value):
    tensors = {name: tensor.clone() for name, tensor in network().state_dict().items()}
    tensors["bn3.running_var"][7] = value

    with refused("tensor 'bn3.running_var' of a file holds NaN or infinite values"):
        fit(network(), tensors, "a file", "lenet5")
