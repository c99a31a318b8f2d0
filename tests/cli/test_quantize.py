"""Verbs that quantize: traces, sensitivities, widths of layers, schemes, published networks."""

import json

import numpy as np
import pytest

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


def test_what_is_left_out_is_said(run, tmp_path, monkeypatch):
    """A final softmax changes no class, so it is dropped; whoever compares scores must hear of it, and only once."""
    (tmp_path / "ends_in_softmax.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(256, 10), nn.Softmax(1)).eval()\n"
    )
    status, out, err = run("quantize", "ends_in_softmax:net", "--calibration", "20", "-o", "o.addax", "--json")

    assert status == 0 and json.loads(out)["file"] == "o.addax"
    said = [line for line in err.splitlines() if line.startswith("addax: note:")]
    assert len(said) == 1 and "softmax" in said[0]
