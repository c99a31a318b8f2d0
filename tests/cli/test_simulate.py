"""Simulation from the command line: a mismatch ends with 3, and stages beside the golden model."""

import json

import pytest


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


@pytest.mark.slow
@pytest.mark.guard
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
