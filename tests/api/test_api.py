"""The front door: the ten lines of the README, what it takes as images, and what it answers to mistakes."""

import subprocess
import sys

import addax
import numpy as np
import pytest
import torch
from addax.models.data import samples
from torch import nn

SCRIPT = """
import addax, torch
torch.manual_seed(0)
model = torch.nn.Sequential(addax.nn.AdderConv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
                            torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(36, 10)).eval()
train, test = addax.load_images("digits", "train", shape=(1, 8, 8)), addax.load_images("digits", shape=(1, 8, 8))
net = addax.quantize(model, train, bits=8)
net.evaluate(test); net.export("qonnx", "exported")
build = net.generate("ecp5-85k", fps=1000)
result = build.simulate(test[:40], stall=30); report = build.report()
print(net, build, result, report, sep="\\n")
"""


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    layers = (
        addax.nn.AdderConv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 10)
    )  # fmt: skip
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def images():
    return addax.load_images("digits", "train", shape=(1, 8, 8))


@pytest.fixture(scope="module")
def network(model, images):
    return addax.quantize(model, images, bits=8)


def operations(network):
    return [
        {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(op).items()}
        for op in network.program.ops
    ]


def test_the_ten_lines_run_as_a_script_without_a_guard(tmp_path):
    """Protects the first thing a user tries: a plain script, which processes must not import again."""
    (tmp_path / "ten.py").write_text(SCRIPT)
    run = subprocess.run([sys.executable, "ten.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == 4 and "40 images: bit-exact" in lines[2] and "estimated" in lines[3], lines
    assert (tmp_path / "out" / "Sequential-ecp5-85k" / "report" / "report.html").is_file()
    assert (tmp_path / "exported" / "network.onnx").is_file()


def test_import_is_quick_and_brings_no_torch():
    """`import addax` stands at the top of every notebook."""
    code = """
import sys, time
begin = time.perf_counter()
import addax
print(time.perf_counter() - begin, "torch" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, torch_there = run.stdout.split()
    assert float(seconds) <= 0.3 and torch_there == "False"


def test_every_public_name_is_there_and_listed():
    assert all(getattr(addax, name) is not None and name in dir(addax) for name in addax.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = addax.nothing


def test_a_module_stays_as_it_is(model, images):
    """A user trains on after trying: mode, weights and layers must not have changed."""
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    addax.quantize(model, images, calibration=10, mean=(0.3,), std=(0.4,))
    assert model.training and [*model._modules] == ["0", "1", "2", "3", "4", "5"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()


FORMS = {
    "pixels": lambda i: i.x,
    "grey": lambda i: i.x[:, 0],
    "tensor": lambda i: torch.tensor(i.x),
    "floats": lambda i: i.x.astype(np.float32) / 255,
    "float tensor": lambda i: torch.tensor(i.x) / 255,
    "pair": lambda i: (i.x, i.y),
    "pair of tensors": lambda i: (torch.tensor(i.x) / 255, torch.tensor(i.y)),
    "data set": lambda i: torch.utils.data.TensorDataset(torch.tensor(i.x) / 255, torch.tensor(i.y)),
    "loader": lambda i: torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.tensor(i.x), torch.tensor(i.y)), batch_size=7
    ),
    "generator": lambda i: (pair for pair in zip(i.x, i.y, strict=True)),
}


@pytest.mark.parametrize("form", FORMS)
def test_images_in_every_form_are_the_same_pixels(form, images):
    """Whoever has a loader of floats must get what whoever has bytes gets."""
    found = samples(FORMS[form](images[:50]), "train", limit=30)
    assert (found.x == images.x[:30]).all() and found.x.dtype == np.uint8
    assert found.y is None or (found.y == images.y[:30]).all()


def test_pictures_of_pillow_in_colour(images):
    """A folder of torchvision without transforms gives pictures, channels last."""
    from PIL import Image

    colour = np.random.default_rng(0).integers(0, 256, (3, 5, 6, 3), np.uint8)
    found = samples([(Image.fromarray(picture), k) for k, picture in enumerate(colour)], "train")
    assert (found.x == colour.transpose(0, 3, 1, 2)).all() and found.y.tolist() == [0, 1, 2]


def test_standardised_images_and_a_module_that_reads_them(images):
    """mean and std: the network of a module that reads standardised images is that of the module behind a layer that
    standardises pixels, and the images are their pixels again."""
    torch.manual_seed(1)
    inner = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = inner

        def forward(self, x):
            return self.body(x)

    mean, std = (0.3081,), (0.1307,)
    x = (torch.tensor(images.x) / 255 - mean[0]) / std[0]
    assert (samples(x, "train", mean=mean, std=std).x == images.x).all()
    first = addax.quantize(Own().eval(), (x, torch.tensor(images.y)), mean=mean, std=std, calibration=50)
    written = nn.Sequential(addax.nn.Normalise(mean, std), *inner).eval()
    second = addax.quantize(written, images, calibration=50)
    assert (first.run(images[:20]).scores == second.run(images[:20]).scores).all()


MISTAKES = {
    "channels must be 1": (lambda m, i: addax.quantize(m, i.x.repeat(2, 1)), "cannot take images"),
    "standardised": (lambda m, i: addax.quantize(m, i.x.astype(np.float32) - 90), "standardised"),
    "wrong mean": (lambda m, i: addax.quantize(m, i.x / 255, mean=(0.3,), std=(0.7,)), "are mean and std theirs"),
    "mean alone": (lambda m, i: addax.quantize(m, i.x / 255, mean=(0.3,)), "mean and std"),
    "channels last": (lambda m, i: addax.quantize(m, i.x.transpose(0, 2, 3, 1)), "transpose(0, 3, 1, 2)"),
    "integers": (lambda m, i: addax.quantize(m, i.x.astype(np.int64)), "uint8"),
    "NaN": (lambda m, i: addax.quantize(m, np.full((4, 1, 8, 8), np.nan)), "NaN"),
    "a dictionary": (lambda m, i: addax.quantize(m, {"x": i.x}), "expected images"),
    "a number": (lambda m, i: addax.quantize(m, 3), "expected images"),
    "no images": (lambda m, i: addax.quantize(m, i.x[:0]), "no images"),
    "labels": (lambda m, i: addax.quantize(m, (i.x, i.y[:3])), "labels"),
    "bits": (lambda m, i: addax.quantize(m, i, bits=1), "bits must be in 2..16"),
    "bits twice": (lambda m, i: addax.quantize(m, i, bits=4, scheme=addax.Scheme(bits=5)), "twice"),
    "kernel of a module": (lambda m, i: addax.quantize(m, i, kernel="adder"), "leave kernel out"),
    "no network": (lambda m, i: addax.quantize("nothing", i), "unknown network"),
    "calibration": (lambda m, i: addax.quantize(m, i, calibration=0), "positive number of images"),
    "no file": (lambda m, i: addax.load("/nowhere.addax"), "no file"),
    "no BUILD": (lambda m, i: addax.open_build("/nowhere"), "not a BUILD"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_in_one_line(mistake, model, images):
    """One family of errors, as on the command line."""
    call, expected = MISTAKES[mistake]
    with pytest.raises(addax.UserError) as told:
        call(model, images)
    assert expected in str(told.value) and "\n" not in str(told.value)


def test_mistakes_with_a_network_and_its_build(network, images, tmp_path):
    build = network.generate(lanes=4, out=tmp_path / "build")
    for call, expected in (
        (lambda: network.generate(lanez=4), "no choice 'lanez'; known: "),
        (lambda: network.generate("nothing"), "unknown device"),
        (lambda: network.export("onyx", tmp_path / "x"), "unknown export format"),
        (lambda: network.evaluate(images.x), "no labels"),
        (lambda: network.evaluate(images, limit=0), "positive"),
        (lambda: build.simulate(images.x[:, :, 1:]), "1x7x8"),
        (lambda: build.simulate(images, jobs=0), "jobs"),
        (lambda: build.report(seeds=0), "seeds"),
        (lambda: network.generate(plan=build.plan, lanes=4, out=tmp_path / "b"), "a plan says all"),
    ):
        with pytest.raises(addax.UserError, match=expected):
            call()


def test_a_plan_can_be_edited_and_given_back(network, tmp_path):
    from dataclasses import replace

    build = network.generate(lanes=4, out=tmp_path / "first")
    again = network.generate(plan=replace(build.plan, clock_mhz=25.0), out=tmp_path / "second")
    assert again.plan.clock_mhz == 25
    assert again.verilog.read_text() == build.verilog.read_text().replace("at 50 MHz", "at 25 MHz")


def test_networks_are_saved_compared_and_shown(network, images, tmp_path):
    """A notebook shows what the last line gives: it must be short as text, and a page as HTML."""
    loaded = addax.load(network.save(tmp_path / "net.addax"))
    assert operations(loaded) == operations(network)
    assert network.compare(images, limit=20).agreement > 0.8
    build = network.generate(lanes=4, out=tmp_path / "build")
    result, report = build.simulate(images[:4]), build.report()
    assert result.bit_exact and report["lut"] > 0 and result.keys()["images"] == 4
    for shown in (network, build, result, report):
        assert len(repr(shown)) < 2000 and shown._repr_html_().startswith("<")
    assert "layer0" in build._repr_html_() and "srcdoc" in report._repr_html_()
