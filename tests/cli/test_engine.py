"""The verbs of engines: generate, compile, simulate, and what they refuse."""

import json

import numpy as np
import pytest
from addax.cli import main
from addax.quant.files.archive import load_program, save_program
from engine_choices import routed
from engine_networks import engine_program, gated
from engine_tokens import attentive

pytestmark = [pytest.mark.slow, pytest.mark.guard]
SMALL = ("--arch", "engine", "--pin", "4", "--pout", "4", "--bits", "16", "--memory-bits", "64")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "net.addax"
    save_program(path, engine_program(5, bits=8, kernels=("adder", "mult")))
    return path


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    path = tmp_path_factory.mktemp("engine") / "E"
    assert main(["generate", *SMALL, "-o", str(path)]) == 0
    return path


def test_the_way_of_an_engine_prints_the_keys_that_scripts_read(run, engine, program, tmp_path):
    """Protects the JSON keys of architecture.md, and that nothing else is on standard output."""
    out = ("-o", tmp_path / "net.image", "--testbench", tmp_path / "bench", "--flat", tmp_path / "net.bin")
    status, out, _ = run("compile", program, "--engine", engine, *out, "--json")
    value = json.loads(out)
    assert status == 0 and (tmp_path / "bench" / "addax_testbench.v").is_file()
    assert (tmp_path / "net.bin").read_bytes().startswith(b"ADXI") and value["flat"] == str(tmp_path / "net.bin")
    assert {"addax.h", "addax_driver.c"} <= set(json.loads((engine / "manifest.json").read_text())["files"])
    assert {"predicted_cycles_per_image", "lanes", "lane_utilization", "bytes_read", "bytes_written"} <= set(value)

    shape = load_program(program).input.shape
    images = np.random.default_rng(0).integers(0, 256, (2, *shape[1:], shape[0]), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", test_x=images, test_y=np.zeros(2, np.int64))
    status, out, _ = run(
        "simulate", engine, tmp_path / "net.image", "--data", tmp_path / "data.npz", "--memory-latency", "33",
        "--trace-stages", "--json",
    )  # fmt: skip
    value = json.loads(out)
    assert status == 0
    assert {
        "images", "mismatches", "bit_exact", "accuracy", "cycles_first_image", "cycles_per_image",
        "predicted_cycles_per_image", "lanes", "lane_utilization", "sim_cycles_per_second", "simulator", "clock_mhz",
        "images_per_second", "bytes_read", "bytes_written", "layers", "stages", "first_difference",
    } <= set(value)  # fmt: skip
    assert (value["images"], value["mismatches"], value["bit_exact"]) == (2, 0, True)
    assert value["cycles_per_image"] == value["predicted_cycles_per_image"]
    assert {"cycles", "busy", "starved", "bound"} <= set(value["layers"][0])
    assert len(value["stages"]) == len(value["layers"]) and value["first_difference"] is None


def test_choices_and_skips_are_options_of_an_engine(run, engine, tmp_path):
    """With both a network whose pixels choose is compiled; without, the refusal names the option that was missing."""
    save_program(tmp_path / "routed.addax", routed(0, bits=16, blocks=1, kernels=("mult",)))
    status, out, _ = run(
        "generate", *SMALL, "--depthwise", "2", "--choices", "--predicates", "16", "-o", tmp_path / "E", "--json"
    )  # fmt: skip
    plan = json.loads(out)["plan"]
    assert status == 0 and (plan["choices"], plan["predicates"]) == (True, 16)

    status, out, _ = run(
        "compile", tmp_path / "routed.addax", "--engine", tmp_path / "E", "-o", tmp_path / "routed.image", "--json"
    )  # fmt: skip
    assert status == 0
    assert {"choice", "plain, number"} <= {layer["mapping"] for layer in json.loads(out)["layers"]}

    status, _, err = run("compile", tmp_path / "routed.addax", "--engine", engine, "-o", tmp_path / "other.image")
    assert status == 1 and err.count("\n") == 1 and "build it with --" in err


def test_products_and_tables_are_options_of_an_engine(run, engine, tmp_path):
    """With both a network of gates is compiled; without, the refusal names the option that was missing."""
    save_program(tmp_path / "gated.addax", gated(3, kernels=("adder", "mult")))
    status, out, _ = run(
        "generate", *SMALL, "--product", "--tables", "8", "-o", tmp_path / "E", "--json"
    )  # fmt: skip
    plan = json.loads(out)["plan"]
    assert status == 0 and (plan["product"], plan["tables"]) == (True, 8)

    status, out, _ = run(
        "compile", tmp_path / "gated.addax", "--engine", tmp_path / "E", "-o", tmp_path / "gated.image", "--json"
    )  # fmt: skip
    mappings = {layer["mapping"] for layer in json.loads(out)["layers"]}
    assert status == 0 and {"product"} <= {name.partition(",")[0] for name in mappings}
    assert any(name.endswith(", table") for name in mappings)

    status, _, err = run("compile", tmp_path / "gated.addax", "--engine", engine, "-o", tmp_path / "other.image")
    assert status == 1 and "build it with --" in err


def test_what_does_not_fit_together_is_refused_in_one_line(run, engine, program, tmp_path):
    """An engine with a network in it, a network without one, an image for another engine."""
    for arguments, message in (
        (("generate", program, *SMALL, "-o", tmp_path / "E"), "an engine is generated without a network"),
        (("generate", *SMALL, "--lanes", "9", "-o", tmp_path / "E"), "is said with --pin and --pout"),
        (("generate", "-o", tmp_path / "E"), "expected a NET.addax"),
        (("generate", program, "--pin", "8", "-o", tmp_path / "E"), "--pin is for an engine; say --arch engine"),
        (("compile", program, "--engine", tmp_path, "-o", tmp_path / "n"), "is not a BUILD folder of an engine"),
    ):
        status, out, err = run(*arguments)
        assert status == 1 and message in err and not out and len(err.strip().splitlines()) == 1, err
    assert run("compile", program, "--engine", engine, "-o", tmp_path / "net.image")[0] == 0
    assert run("generate", *SMALL, "--weight-bytes", "16384", "-o", tmp_path / "other")[0] == 0
    status, _, err = run("simulate", tmp_path / "other", tmp_path / "net.image", "--data", "digits")
    assert status == 1 and "is for another engine, of weight_bytes 32768, not 16384" in err
    for arguments, message in (
        ((engine, "--data", "digits"), "is an engine; say which network: addax simulate"),
        ((engine, tmp_path / "net.image", "--data", "digits", "--stall", "0.3"), "--stall is for a BUILD"),
        ((engine, program, "--data", "digits"), "is not an image for an engine"),
    ):
        status, out, err = run("simulate", *arguments)
        assert status == 1 and message in err and not out and len(err.strip().splitlines()) == 1, err


def test_report_of_an_engine_tells_its_layers(run, engine, program, tmp_path):
    """Text and JSON; what an engine's report has not is refused in one line, as an image for a dataflow BUILD is."""
    assert run("compile", program, "--engine", engine, "-o", tmp_path / "net.image")[0] == 0
    status, out, _ = run("report", engine, "--image", tmp_path / "net.image", "-o", tmp_path / "report")
    assert status == 0 and "roof" in out and "lanes and trees" in out and "held out: LUT" in out
    status, out, _ = run("report", engine, "--json", "-o", tmp_path / "report")
    assert status == 0 and json.loads(out)["cycles_per_image"] is None
    for arguments, message in (
        (("report", engine, "--power"), "depends on the network that it runs: say --image"),
        (("report", engine, "--saif", program), "--saif goes with --power"),
        (("report", engine, "--image", program), "is not an image for an engine"),
        (("report", tmp_path, "--image", tmp_path / "net.image"), "--image is for an engine"),
    ):
        status, out, err = run(*arguments)
        assert status == 1 and message in err and not out and len(err.strip().splitlines()) == 1, err


def test_products_of_tokens_are_an_option_of_an_engine(run, engine, tmp_path):
    """With it attention is compiled; without, the refusal names the option that was missing."""
    save_program(tmp_path / "tokens.addax", attentive(1, bits=16, kernels=("mult",)))
    status, out, _ = run("generate", *SMALL, "--matmul", "-o", tmp_path / "E", "--json")
    assert status == 0 and json.loads(out)["plan"]["matmul"] is True

    status, out, _ = run(
        "compile", tmp_path / "tokens.addax", "--engine", tmp_path / "E", "-o", tmp_path / "tokens.image", "--json"
    )  # fmt: skip
    assert status == 0 and "tokens" in {layer["mapping"] for layer in json.loads(out)["layers"]}

    status, _, err = run("compile", tmp_path / "tokens.addax", "--engine", engine, "-o", tmp_path / "other.image")
    assert status == 1 and err.count("\n") == 1 and "build it with --matmul" in err
