"""The command line as scripts and people use it: the verbs, their keys and their options."""

import json

import pytest


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


@pytest.mark.slow
@pytest.mark.guard
def test_without_a_goal_the_design_is_small_and_more_is_offered(run, net, tmp_path):
    """A beginner's first `generate` must not take minutes and a whole device; what more costs is said."""
    status, out, _ = run("generate", net, "-o", tmp_path / "small")
    assert status == 0 and "no pace was asked for" in out and "--fps 13000" in out and "--fill" in out
    small = json.loads(run("generate", net, "-o", tmp_path / "small", "--json")[1])
    asked = json.loads(run("generate", net, "--fps", 30, "-o", tmp_path / "asked", "--json")[1])
    filled = json.loads(run("generate", net, "--fill", "-o", tmp_path / "filled", "--json")[1])
    assert small["plan"] == asked["plan"] and 30 <= small["images_per_second"] < filled["images_per_second"] / 10
    status, _, err = run("generate", net, "--fill", "--lanes", 4, "-o", tmp_path / "none")
    assert status == 1 and "to fill the device is a goal of its own" in err


def test_a_described_device_is_planned_for_and_reported(run, net, tmp_path):
    name = "xc7:lut=8000,ff=16000,bram=20,dsp=60"
    assert run("generate", net, "--device", name, "--fill", "-o", tmp_path / "b")[0] == 0
    found = json.loads(run("report", tmp_path / "b", "--json")[1])
    assert found["device"] == name and 0 < found["lut"] <= 8000 and found["bram"] <= 20 and found["dsp"] <= 60
    status, _, err = run("report", tmp_path / "b", "--place")
    assert status == 1 and "place and route" in err


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


def test_help_and_version(run):
    status, out, _ = run("--help")
    assert status == 0
    assert all(
        verb in out for verb in ("demo", "train", "quantize", "evaluate", "export", "generate", "simulate", "report")
    )
    assert run("--version")[0] == 0
