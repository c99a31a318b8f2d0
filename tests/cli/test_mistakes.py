"""One clear line and exit status 1 for every mistake, 2 for wrong usage."""

import numpy as np
import pytest
from safetensors.numpy import save_file


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
    (["generate", "NET", "--no-counters", "-o", "b"], "--no-counters leaves the counters out of --control; say which"),
    (["generate", "NET", "--multipliers", "csd", "-o", "b"], "unknown multipliers 'csd'; known: lut, dsp"),
    (["generate", "NET", "--requantise", "csd", "-o", "b"], "unknown requantise 'csd'; known: auto, dsp, halves, lut"),
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
    (["train", "lenet5", "--data", "white.npz"], "a batch of 64 images is larger than the 4 to train on"),
    (["train", "lenet5", "--recipe", "gone.toml"], "cannot read recipe gone.toml: No such file or directory"),
    (["train", "lenet5", "--recipe", "garbage.safetensors"], "garbage.safetensors is no TOML"),
    (["train", "lenet5", "--workers", "-1"], "workers must be 0 or more, not -1"),
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


def test_wrong_usage_ends_with_2(run):
    assert run("simulate")[0] == 2
    assert run("nonsense")[0] == 2
    assert run("quantize", "lenet5", "--bits", "many", "-o", "x")[0] == 2


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
