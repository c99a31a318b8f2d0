"""The command line as scripts and people use it: keys, exit codes, one clear line for every mistake."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from addax.cli import main
from safetensors.numpy import save_file

ADDAX = [sys.executable, "-m", "addax.cli"]


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run a verb in a folder of its own; returns exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        status = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "lenet.addax"
    assert main(["quantize", "lenet5", "--kernel", "adder", "--bits", "8", "--data", "digits", "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def build(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "build"
    assert main(["generate", str(net), "--device", "ecp5-85k", "--lanes", "80", "-o", str(path)]) == 0
    return path


def test_the_whole_way_prints_the_keys_that_scripts_read(run, net, build, tmp_path):
    """Protects the JSON keys of architecture.md, and that nothing else is on standard output."""
    status, out, _ = run("evaluate", net, "--data", "digits", "--json")
    value = json.loads(out)
    assert status == 0
    assert {"images", "correct", "accuracy", "images_per_second"} <= set(value)
    assert value["images"] == 360 and value["accuracy"] == value["correct"] / 360 >= 0.985

    status, out, _ = run("simulate", build, "--data", "digits", "--images", "20", "--json")
    value = json.loads(out)
    assert status == 0
    assert {
        "images", "mismatches", "bit_exact", "accuracy", "cycles_first_image", "cycles_per_image",
        "predicted_cycles_per_image", "lanes", "lane_utilization", "sim_cycles_per_second", "simulator", "clock_mhz",
        "images_per_second",
    } <= set(value)  # fmt: skip
    assert (value["images"], value["mismatches"], value["bit_exact"]) == (20, 0, True)
    assert value["cycles_per_image"] == value["predicted_cycles_per_image"]
    assert 0.9 < value["lane_utilization"] <= 1

    status, out, _ = run("report", build, "--json", "-o", tmp_path / "report")
    value = json.loads(out)
    assert status == 0
    assert {
        "device", "source", "lut", "ff", "bram", "dsp", "carry", "fmax_mhz", "power_mw", "energy_per_image_uj", "tools",
    } <= set(value)  # fmt: skip
    assert set(value["power_mw"]) == {"static", "dynamic", "total"}
    assert value["source"] == "estimated" and value["device"] == "ecp5-85k"


@pytest.mark.parametrize("fmt", ["npz", "c"])
def test_export_of_a_program(run, net, tmp_path, fmt):
    status, out, _ = run("export", net, "--format", fmt, "-o", tmp_path / "export", "--json")

    assert status == 0
    assert "manifest.json" in json.loads(out)["files"]


def test_export_of_a_build(run, build, tmp_path):
    status, out, _ = run("export", build, "--format", "mem", "-o", tmp_path / "mem", "--json")

    assert status == 0
    names = json.loads(out)["files"]
    assert "addax_conv1_weights.mem" in names and "manifest.json" in names
    assert all((tmp_path / "mem" / n).read_bytes() == (build / n).read_bytes() for n in names if n.endswith(".mem"))


def test_a_plan_can_be_edited_and_given_back(run, net, build, tmp_path):
    plan = json.loads((build / "plan.json").read_text())
    conv2 = next(stage for stage in plan["stages"] if stage["name"] == "conv2")
    conv2 |= {"pe": 1 if conv2["pe"] > 1 else 2, "requantisers": 1}  # there, whatever the fold that was chosen
    (tmp_path / "plan.json").write_text(json.dumps(plan))

    status, out, _ = run("generate", net, "--plan", tmp_path / "plan.json", "-o", tmp_path / "b", "--json")

    assert status == 0
    assert next(s for s in json.loads(out)["plan"]["stages"] if s["name"] == "conv2")["pe"] == conv2["pe"]


def test_control_comes_from_the_option_or_the_plan(run, net, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert run("generate", net, "--control", "axi-lite", "-o", first)[0] == 0
    assert run("generate", net, "--plan", first / "plan.json", "-o", second)[0] == 0

    for folder in (first, second):
        assert json.loads((folder / "plan.json").read_text())["control"] == "axi-lite"
        assert json.loads((folder / "registers.json").read_text())["bus"] == "axi-lite"
    assert (first / "addax.v").read_bytes() == (second / "addax.v").read_bytes()
    status, _, err = run("generate", net, "--plan", first / "plan.json", "--control", "wishbone", "-o", tmp_path / "c")
    assert status == 1 and "a plan already says the control" in err and not (tmp_path / "c").exists()


def test_training_writes_a_checkpoint_that_quantises(run, tmp_path):
    status, out, _ = run(
        "train", "lenet5", "--kernel", "mult", "--epochs", "1", "-o", tmp_path / "c.safetensors", "--json"
    )
    assert status == 0
    assert json.loads(out)["images"] == 360

    status, _, _ = run("quantize", tmp_path / "c.safetensors", "-o", tmp_path / "c.addax")
    assert status == 0


def quantize(*options):
    return ["quantize", *options, "-o", "x.addax"]


MISTAKES = [
    (["quantize", "lenet9", "-o", "x.addax"], "unknown network 'lenet9'; known: lenet5"),
    (["quantize", "lenet5", "--kernel", "nand", "-o", "x.addax"], "unknown kernel 'nand'; known: adder, mult, xnor"),
    (["quantize", "lenet5", "--bits", "17", "-o", "x.addax"], "bits must be in 2..16, not 17"),
    (["quantize", "lenet5", "--bits", "1", "-o", "x.addax"], "bits must be in 2..16, not 1"),
    (["quantize", "lenet5", "--data", "nowhere", "-o", "x.addax"], "no data at 'nowhere'"),
    (["quantize", "missing.safetensors", "-o", "x.addax"], "no file at missing.safetensors; expected"),
    (["quantize", "foreign.safetensors", "-o", "x.addax"], "not an addax checkpoint"),
    (["quantize", "garbage.safetensors", "-o", "x.addax"], "is not an addax checkpoint"),
    (["quantize", "net.onnx", "-o", "x.addax"], "net.onnx is not an ONNX file, or a broken one"),
    (["quantize", "no.such.module:factory", "-o", "x.addax"], "cannot import 'no.such.module'"),
    (["quantize", "lenet5", "-o", "folder"], "folder is a folder; expected the name of a file to write"),
    (["quantize", "lenet5", "--data", "wide.npz", "-o", "x.addax"], "images of wide.npz are 1x16x18"),
    (quantize("lenet5", "--ranges", "median"), "ranges must be one of quantile, max, mse, sums, not 'median'"),
    (quantize("lenet5", "--groups", "0"), "groups must be a positive integer, not 0"),
    (quantize("lenet5", "--terms", "9"), "terms must be in 0..8, not 9"),
    (quantize("lenet5", "--layer-bits", "conv2"), "--layer-bits wants LAYER:BITS, for example layer1.0.conv1:6, not"),
    (quantize("lenet5", "--layer-bits", "conv2:"), "--layer-bits wants LAYER:BITS, for example"),
    (quantize("lenet5", "--layer-bits", "conv2:-4"), "--layer-bits wants LAYER:BITS, for example"),
    (quantize("lenet5", "--layer-bits", "conv2:1"), "bits of layer 'conv2' must be in 2..16, not 1"),
    (quantize("lenet5", "--layer-bits", "fc1:4", "--layer-bits", "fc9:4"), "no convolution 'fc9'; it has conv1, conv2"),
    (quantize("lenet5", "--calibration", "-5"), "calibration needs a positive number of images, not -5"),
    (quantize("lenet5", "--calibration", "0"), "calibration needs a positive number of images, not 0"),
    (quantize("lenet5", "--data", "constant.npz"), "calibration images are constant: every pixel is 7"),
    (quantize("lenet5", "--data", "white.npz"), "images are saturated: 99.6 % of their pixels are 255"),
    (
        quantize("lenet5", "--calibration", "9", "--mean-bits", "2.5"),
        "a mean of 2.5 bits cannot be reached; the narrowest",
    ),
    (quantize("lenet5", "--calibration", "9", "--mean-bits", "nan"), "a mean of nan bits cannot be reached"),
    (quantize("lfc-w1a1"), "lfc-w1a1 needs its published weights: name the file with --weights"),
    (quantize("cnv-w1a1"), "cnv-w1a1 needs its published weights: name the file with --weights"),
    (quantize("addernet-resnet20"), "addernet-resnet20 needs its published weights: name the file with --weights"),
    (quantize("lfc-w1a1", "--kernel", "xnor"), "lfc-w1a1 has a kernel of its own; leave --kernel out"),
    (
        quantize("addernet-resnet20", "--kernel", "adder"),
        "addernet-resnet20 has a kernel of its own; leave --kernel out",
    ),
    (quantize("cnv-w1a1", "--weights", "gone.npz"), "no file at gone.npz; expected a .npz of decoded weights"),
    (quantize("lfc-w1a1", "--weights", "wide.npz"), "wide.npz does not fit: missing W0; missing W1"),
    (
        quantize("addernet-resnet20", "--weights", "gone.pth"),
        "no file at gone.pth; expected the authors' ResNet20-AdderNet",
    ),
    (
        quantize("addernet-resnet20", "--weights", "garbage.safetensors"),
        "is broken, or holds other objects than tensors",
    ),
    (["evaluate", "NET", "--data", "digits", "--float", "lenet5"], "--float and --weights go with --trace"),
    (["evaluate", "NET", "--data", "digits", "--weights", "w.safetensors"], "--float and --weights go with --trace"),
    (["evaluate", "NET", "--data", "digits", "--trace", "--float", "lenet9"], "unknown network 'lenet9'; known:"),
    (["evaluate", "NET", "--data", "digits", "--trace", "--float", "gone.safetensors"], "no file at gone.safetensors"),
    (
        ["evaluate", "NET", "--data", "digits", "--trace", "--float", "torch.nn:Flatten"],
        "the float network has no value",
    ),
    (["evaluate", "missing.addax", "--data", "digits"], "no file at missing.addax; expected an .addax file"),
    (["evaluate", "garbage.safetensors", "--data", "digits"], "is not an .addax file"),
    (["evaluate", "truncated.addax", "--data", "digits"], "truncated.addax is not an .addax file"),
    (["evaluate", "foreign.safetensors", "--data", "digits"], "is a safetensors file, but not an .addax file"),
    (["evaluate", "NET", "--data", "digits", "--split", "dev"], "split must be one of train, test, not 'dev'"),
    (["evaluate", "NET", "--data", "digits", "--limit", "0"], "limit must be a positive integer, not 0"),
    (["evaluate", "NET", "--data", "wide.npz"], "images of wide.npz are 1x16x18"),
    (["generate", "NET", "--device", "ecp6", "-o", "b"], "unknown device 'ecp6'; known: ecp5-25k"),
    (["generate", "NET", "--arch", "systolic", "-o", "b"], "unknown architecture 'systolic'; known: dataflow"),
    (["generate", "NET", "--lanes", "-3", "-o", "b"], "lanes must be a positive integer, not -3"),
    (["generate", "NET", "--lanes", "3", "-o", "b"], "3 lanes are too few"),
    (["generate", "NET", "--fps", "1e9", "-o", "b"], "no fold reaches 1e+09 images/s"),
    (["generate", "NET", "--clock", "0", "-o", "b"], "clock must be a positive number of MHz, not 0"),
    (["generate", "NET", "--plan", "missing.json", "-o", "b"], "cannot read plan missing.json"),
    (["generate", "NET", "--plan", "wide.npz", "-o", "b"], "wide.npz is not a plan"),
    (["generate", "NET", "--control", "apb", "-o", "b"], "unknown control 'apb'; known: none, axi-lite, wishbone"),
    (["generate", "NET", "--multipliers", "csd", "-o", "b"], "unknown multipliers 'csd'; known: lut, dsp"),
    (["generate", "NET", "--requantise", "csd", "-o", "b"], "unknown requantise 'csd'; known: auto, dsp, lut, pow2"),
    (["generate", "NET", "--requantise", "pow2", "-o", "b"], "quantise with --terms for that"),
    (["generate", "NET", "--prefix", "1; rm", "-o", "b"], "prefix must be a Verilog identifier"),
    (["generate", "NET", "-o", "folder"], "folder is not an addax build folder; it is left alone"),
    (["generate", "NET", "-o", "wide.npz/build"], "cannot create folder"),
    (["quantize", "lenet5", "-o", "wide.npz/x.addax"], "cannot create folder"),
    (["quantize", "lenet5", "-o", "/proc/x.addax"], "cannot write /proc/x.addax"),
    (["generate", "NET", "-o", "/proc/build"], "cannot write to folder /proc"),
    (["generate", "NET", "-o", "wide.npz"], "wide.npz is a file; expected the name of a folder"),
    (["simulate", "folder", "--data", "digits"], "folder is not a BUILD folder"),
    (["simulate", "BUILD", "--data", "digits", "--stall", "100"], "stall must be a share in 0..0.99"),
    (["simulate", "BUILD", "--data", "digits", "--images", "-1"], "images must be a positive integer, not -1"),
    (["simulate", "BUILD", "--data", "wide.npz"], "images of wide.npz are 1x16x18"),
    (["simulate", "BUILD", "--data", "digits", "--waves", "x.txt"], "waveform file must end in .vcd or .fst"),
    (["simulate", "BUILD", "--data", "digits", "--perfetto", "folder"], "folder is a folder; expected the name of a"),
    (["simulate", "BUILD", "--data", "digits", "--jobs", "0"], "jobs must be a positive integer, not 0"),
    (
        ["simulate", "BUILD", "--data", "digits", "--stall", "30", "--stall-pattern", "wave"],
        "unknown stall pattern 'wave'; known: both, source, sink, burst",
    ),
    (["simulate", "BUILD", "--data", "digits", "--stall", "nan"], "stall must be a share in 0..0.99, not nan"),
    (["report", "missing"], "missing is not a BUILD folder"),
    (["report", "BUILD", "--place", "--seeds", "0"], "seeds must be a positive integer, not 0"),
    (["report", "BUILD", "--saif", "a.saif"], "--saif goes with --power"),
    (["report", "BUILD", "--power", "--saif", "a.saif"], "cannot read activity file a.saif: No such file or directory"),
    (["compare", "lenet5", "--device", "xc7z020", "--place"], "there is no open place and route for xc7z020"),
    (["compare", "lenet5", "--device", "xc7z020", "--seeds", "0"], "seeds must be a positive integer, not 0"),
    (["compare", "lenet5", "--device", "xc7z020", "--program", "mult"], "--program wants KERNEL=NET.addax"),
    (["compare", "lenet5", "--device", "xc7z020", "--kernels", "adder,conv"], "unknown kernel 'conv'; known: "),
    (["export", "NET", "--format", "pdf", "-o", "e"], "unknown export format 'pdf'; known: qonnx, qcdq, npz, c"),
    (["export", "NET", "--format", "mem", "-o", "e"], "is not a BUILD folder"),
    (["export", "NET", "--format", "npz", "--weights", "NET", "-o", "e"], "--weights goes with --format mem"),
    (["export", "NET", "--format", "npz", "-o", "folder"], "folder is not an addax export folder"),
    (["train", "lenet9"], "unknown network 'lenet9'"),
    (["train", "lenet5", "--epochs", "0"], "epochs must be a positive integer, not 0"),
    (["train", "lenet5", "--data", "wide.npz"], "lenet5 needs a height and width of"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[" ".join(a) for a, _ in MISTAKES])
def test_a_mistake_ends_in_one_line_and_leaves_nothing(run, net, build, tmp_path, arguments, message):
    """Protects users' time: what was expected, what came, where; exit 1; no file appears."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "precious").write_text("mine")
    save_file({"x": np.zeros(3)}, tmp_path / "foreign.safetensors")
    (tmp_path / "garbage.safetensors").write_bytes(b"\x00" * 100)
    (tmp_path / "truncated.addax").write_bytes(net.read_bytes()[:-1000])
    (tmp_path / "net.onnx").write_bytes(b"")
    grey = np.full((4, 16, 16), 7, np.uint8)
    np.savez(tmp_path / "constant.npz", train_x=grey, train_y=np.arange(4), test_x=grey, test_y=np.arange(4))
    white = np.full((4, 16, 16), 255, np.uint8)
    white[:, 0, 0] = 0
    np.savez(tmp_path / "white.npz", train_x=white, train_y=np.arange(4), test_x=white, test_y=np.arange(4))
    wide = np.zeros((4, 16, 18), np.uint8)
    np.savez(tmp_path / "wide.npz", train_x=wide, train_y=np.arange(4), test_x=wide, test_y=np.arange(4))
    before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))

    status, out, err = run(*[{"NET": net, "BUILD": build}.get(a, a) for a in arguments])

    assert (status, out) == (1, "")
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    assert lines[0].startswith("addax: ") and message in lines[0]
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == before


TRACE_KEYS = {"operation", "origin", "bits", "error", "bias", "clipped"}
SENSITIVITY_KEYS = {"layer", "weights", "bits", "agreement", "divergence"}


def test_trace_of_a_program_beside_its_float_network(run, net):
    """The keys of the documentation, and a table for people; what the network was made of is in the file."""
    status, out, _ = run("evaluate", net, "--data", "digits", "--trace", "--limit", "50", "--json")

    value = json.loads(out)
    assert status == 0
    assert {"images", "correct", "accuracy", "traced_images", "agreement", "trace"} <= set(value)
    assert (value["images"], value["traced_images"]) == (50, 50) and value["agreement"] >= 0.98
    assert all(set(row) == TRACE_KEYS for row in value["trace"])
    assert [row["operation"] for row in value["trace"]] == [
        "conv1_out", "pool1", "conv2_out", "pool2", "flatten", "fc1_out", "fc2_out", "scores",
    ]  # fmt: skip
    assert all(0 < row["error"] < 0.1 for row in value["trace"])

    status, out, _ = run("evaluate", net, "--data", "digits", "--trace", "--float", "lenet5")
    assert status == 0
    assert "of 200 images alike" in out and "conv2_out" in out and "relu2" in out, "enough for a mean"


def test_table_of_sensitivities(run, tmp_path):
    """Five layers at five widths, with their keys; with --json nothing else is on standard output."""
    arguments = ["quantize", "lenet5", "--calibration", "20", "--sensitivity", "-o", tmp_path / "x.addax"]

    status, out, _ = run(*arguments, "--json")

    value = json.loads(out)
    assert status == 0 and (tmp_path / "x.addax").is_file()
    rows = value["sensitivity"]
    assert all(set(row) == SENSITIVITY_KEYS for row in rows)
    assert [(row["layer"], row["bits"]) for row in rows] == [
        (layer, bits) for layer in ("conv1", "conv2", "fc1", "fc2", "fc3") for bits in (8, 6, 5, 4, 3)
    ]
    assert {row["layer"]: row["weights"] for row in rows}["conv2"] == 16 * 6 * 25
    assert "layer_bits" not in value, "a table alone chooses nothing"

    status, out, _ = run(*arguments)
    assert status == 0
    assert all(name in out for name in ("conv2", "3 bit", "millinats"))


def test_widths_of_layers_under_a_budget(run, tmp_path):
    """A mean of five bits per weight, in the file and not only on paper; as one layer's bits may be said by hand."""
    from addax.quant.files.archive import load_program
    from addax.quant.program import Convolution

    status, out, _ = run(
        "quantize", "lenet5", "--calibration", "60", "--mean-bits", "5", "-o", tmp_path / "x.addax", "--json"
    )

    value = json.loads(out)
    assert status == 0 and len(value["sensitivity"]) == 25
    chosen = dict(entry.rsplit(":", 1) for entry in value["layer_bits"].split())
    program = load_program(tmp_path / "x.addax")
    held = {op.name: op.weight_format.bits for op in program.ops if isinstance(op, Convolution)}
    assert held == {layer: int(bits) for layer, bits in chosen.items()}
    weights = {op.name: op.weight.size for op in program.ops if isinstance(op, Convolution)}
    mean = sum(held[layer] * count for layer, count in weights.items()) / sum(weights.values())
    assert mean <= 5 and float(value["mean_bits"]) == pytest.approx(mean, abs=1e-3)

    status, out, _ = run("evaluate", tmp_path / "x.addax", "--data", "digits", "--json")
    assert status == 0 and json.loads(out)["accuracy"] >= 0.97

    by_hand = ["--layer-bits", "fc1:3", "--layer-bits", "conv1:6"]
    status, _, _ = run("quantize", "lenet5", *by_hand, "-o", tmp_path / "y.addax")
    own = load_program(tmp_path / "y.addax").by_name
    assert status == 0
    assert [own[layer].weight_format.bits for layer in ("conv1", "conv2", "fc1", "fc2", "fc3")] == [6, 8, 3, 8, 8]


def test_choices_of_a_scheme_reach_the_program(run, tmp_path):
    from addax.quant.files.archive import load_program
    from addax.quant.program import Concat, Requantise

    status, _, _ = run(
        "quantize", "lenet5", "--bits", "4", "--groups", "8", "--terms", "2", "--pow2-steps", "--ranges", "max",
        "--calibration", "50", "-o", tmp_path / "x.addax",
    )  # fmt: skip

    program = load_program(tmp_path / "x.addax")
    assert status == 0 and program.metadata["calibration"].startswith("50 images")
    assert any(isinstance(op, Concat) for op in program.ops)
    assert {op.terms for op in program.ops if isinstance(op, Requantise)} == {2}
    assert all(np.log2(program.steps[op.name]).is_integer() for op in program.ops if op.name.endswith("_out"))


def test_published_network_of_integers(run, tmp_path):
    """Its file makes a program without calibration; what belongs to float networks is refused in one line."""
    rng = np.random.default_rng(0)
    shapes = [(1024, 832), (1024, 1024), (1024, 1024), (64, 1024)]
    arrays = {f"W{k}": rng.integers(0, 2, shape, dtype=np.uint8) for k, shape in enumerate(shapes)}
    arrays |= {f"T{k}": np.full(shape[0], shape[1] // 2, np.int32) for k, shape in enumerate(shapes)}
    np.savez(tmp_path / "lfc.npz", **arrays)
    x = rng.integers(0, 256, (10, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", test_x=x, test_y=np.zeros(10, np.int64))
    made = ["quantize", "lfc-w1a1", "--weights", tmp_path / "lfc.npz"]

    status, out, _ = run(*made, "-o", tmp_path / "lfc.addax", "--json")

    value = json.loads(out)
    assert status == 0 and value["network"] == "lfc-w1a1" and value["kernel"] == "xnor" and value["bits"] == "1"
    evaluate = ["evaluate", tmp_path / "lfc.addax", "--data", tmp_path / "images.npz"]
    assert run(*evaluate)[0] == 0
    mistakes = {
        ("--trace",): "the program does not come from a float network; there is nothing to compare it with",
        ("--sensitivity",): "lfc-w1a1 is a network of integers already; its widths cannot be chosen",
        ("--mean-bits", "4"): "lfc-w1a1 is a network of integers already; its widths cannot be chosen",
    }
    for options, message in mistakes.items():
        verb = evaluate if options == ("--trace",) else [*made, "-o", tmp_path / "y.addax"]
        status, out, err = run(*verb, *options)
        assert (status, out, err) == (1, "", f"addax: {message}\n")
    assert not (tmp_path / "y.addax").exists()


def test_wrong_usage_ends_with_2(run):
    assert run("simulate")[0] == 2
    assert run("nonsense")[0] == 2
    assert run("quantize", "lenet5", "--bits", "many", "-o", "x")[0] == 2


def test_help_and_version(run):
    status, out, _ = run("--help")
    assert status == 0
    assert all(
        verb in out for verb in ("demo", "train", "quantize", "evaluate", "export", "generate", "simulate", "report")
    )
    assert run("--version")[0] == 0


def test_nan_weights_are_refused(run, tmp_path):
    from addax.models.files.checkpoint import Recipe, save_checkpoint
    from addax.models.nets import zoo

    module = zoo.build("lenet5", kernel="adder")
    module.fc1.weight.data[0, 0] = float("nan")
    recipe = Recipe(
        network="lenet5", kernel="adder", shape=(1, 16, 16), classes=10, data="digits", seed=0, epochs=1, accuracy=0.1
    )
    save_checkpoint(tmp_path / "nan.safetensors", module, recipe)

    status, _, err = run("quantize", tmp_path / "nan.safetensors", "-o", tmp_path / "x.addax")

    assert status == 1
    assert "tensor 'fc1.weight'" in err and "NaN or infinite" in err
    assert not (tmp_path / "x.addax").exists()


def test_a_mismatch_ends_with_3(run, build, tmp_path):
    """A build whose memory files were changed behind its back must not pass for verified."""
    import shutil

    from addax.sim import cosim

    folder = tmp_path / "changed"
    shutil.copytree(build, folder)
    original = cosim.prepare

    def tampering(target, *arguments):
        original(target, *arguments)
        words = (target / "addax_fc3_weights.mem").read_text().splitlines()
        (target / "addax_fc3_weights.mem").write_text("\n".join([words[1], *words[1:]]) + "\n")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cosim, "prepare", tampering)
        status, out, err = run("simulate", folder, "--data", "digits", "--images", "10", "--json")

    assert status == 3
    value = json.loads(out)
    assert not value["bit_exact"] and value["mismatches"] > 0 and value["first_mismatch"]
    assert "RTL and golden model differ" in err


def test_stages_of_a_simulation_beside_the_golden_model(run, build, tmp_path):
    """The keys and the table of an intact build, then of one whose first weight of conv2 is another: exit 3."""
    from addax.sim import cosim

    arguments = ["simulate", build, "--data", "digits", "--images", "12", "--trace-stages"]
    names = ["conv1", "pool1", "conv2", "pool2", "fc1", "fc2", "fc3"]

    status, out, _ = run(*arguments, "--stall", "30", "--stall-pattern", "burst", "--json")

    value = json.loads(out)
    assert (status, value["first_difference"], value["bit_exact"]) == (0, None, True)
    assert [stage["name"] for stage in value["stages"]] == names
    assert all(stage["mismatches"] == 0 and stage["first"] is None for stage in value["stages"])
    assert value["stages"][0]["values"] > 12 * 100 and value["stages"][-1]["values"] == 12 * 10
    assert 0.2 < value["source_stalls"] < 0.4 and 0.2 < value["sink_stalls"] < 0.4

    original = cosim.prepare

    def tampering(target, *arguments):
        original(target, *arguments)
        words = (target / "addax_conv2_weights.mem").read_text().splitlines()
        inverse = f"{int(words[0], 16) ^ (1 << 4 * len(words[0])) - 1:0{len(words[0])}x}"
        (target / "addax_conv2_weights.mem").write_text("\n".join([inverse, *words[1:]]) + "\n")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cosim, "prepare", tampering)
        status, out, err = run(*arguments, "--json")
        again, table, _ = run(*arguments)

    value = json.loads(out)
    assert (status, again, value["bit_exact"]) == (3, 3, False)
    found = {stage["name"]: stage["mismatches"] for stage in value["stages"]}
    assert (found["conv1"], found["pool1"]) == (0, 0) and found["conv2"] > 0
    first = value["first_difference"]
    assert set(first) == {"stage", "image", "y", "x", "channel", "expected", "found"}
    assert first == {"stage": "conv2", **value["stages"][2]["first"]}
    place = f"image {first['image']}, pixel ({first['y']}, {first['x']}), channel {first['channel']}"
    line = f"addax: first difference: stage conv2, {place}: expected {first['expected']}, found {first['found']}"
    assert line in err.splitlines()
    assert all(name in table for name in (*names, "different"))


def heed_interrupts():
    """In a new process: tests that run in the background of a shell hand on that they ignore interrupts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("whom", ["group", "main", "killed"])
def test_no_simulator_outlives_an_interrupt(run, build, tmp_path, whom):
    """Two simulators at work; Ctrl-C in the terminal, a signal to addax alone, and its sudden death."""
    assert run("simulate", build, "--data", "digits", "--images", "1")[0] == 0  # compiled, so that simulators start
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [*ADDAX, "simulate", str(build), "--data", "digits", "--stall", "99", "--jobs", "2"],
        env={**os.environ, "TMPDIR": str(scratch)}, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True, text=True, preexec_fn=heed_interrupts,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while len(list(scratch.glob("*/*/ends.mem"))) < 2:
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.1)
        if whom == "group":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT if whom == "main" else signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        assert process.returncode == (-signal.SIGKILL if whom == "killed" else 130), err
        if whom != "killed":
            assert err.strip() == "addax: interrupted"
            assert list(scratch.iterdir()) == []
        deadline = time.monotonic() + 20
        while left := _working_in(scratch):
            assert time.monotonic() < deadline, left
            time.sleep(0.1)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _working_in(folder):
    """Processes whose folder is below ``folder``, or was before it vanished."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if str(entry.readlink()).startswith(str(folder)):
                found.append(entry.parent.name)
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "lenet5", "--epochs", "500", "-o", "c.safetensors"],
        ["simulate", "BUILD", "--data", "digits", "--stall", "0.9"],
        ["demo", "-o", "demo"],
    ],
    ids=["train", "simulate", "demo"],
)
def test_an_interrupt_ends_with_130_and_leaves_nothing_half_written(build, tmp_path, arguments):
    """Ctrl-C reaches the whole process group, as from a terminal."""
    environment = {**os.environ, "ADDAX_CACHE": str(tmp_path / "cache")}
    work = tmp_path / "work"
    work.mkdir()
    process = subprocess.Popen(
        [*ADDAX, *[{"BUILD": str(build)}.get(a, a) for a in arguments]], cwd=work, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True,
        preexec_fn=heed_interrupts,
    )  # fmt: skip
    time.sleep(6)
    assert process.poll() is None, process.communicate()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert [p for p in work.rglob("*") if p.name.startswith(".")] == []
    assert not (work / "c.safetensors").exists()
    caches = [p for p in Path(environment["ADDAX_CACHE"]).rglob("*") if p.is_dir() and p.name.startswith(".")]
    assert caches == []


@pytest.mark.slow
@pytest.mark.guard
def test_the_demo_verb_is_the_whole_way(tmp_path):
    """The command of the README, in a process of its own, with its table on standard output."""
    done = subprocess.run(
        [*ADDAX, "demo", "-o", str(tmp_path / "demo"), "--json"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["mismatches"] == 0 and value["bit_exact"] and value["images"] == 360
    assert value["cycles_per_image"] == value["predicted_cycles_per_image"]
    assert min(value["accuracy_float"], value["accuracy_int8"]) >= 0.985
    assert value["accuracy_rtl"] == value["accuracy_int8"]
    assert value["lut"] > 1000 and value["power_mw"]["dynamic"] > 0
    assert Path(value["report"]).is_file()
