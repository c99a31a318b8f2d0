"""When stages work in the RTL: what the cycle model says, and as a trace that a viewer takes."""

import json
from itertools import pairwise

import numpy as np
import pytest
from addax.cli import main
from addax.common.errors import UserError
from addax.hdl.dataflow.build import bind
from addax.hdl.folder.generate import generate
from addax.hdl.interface import answer_beats
from addax.sim import stopwatch
from addax.sim.perfetto import chrome_trace
from addax.sim.stall import Stall
from addax.sim.stopwatch import ANSWERS, PIXELS_TRACK, Timeline, Wait, Work, watch
from networks import random_images, random_moving, random_plan

IMAGES = 5
SEED = 3
"""Of a network with a move and a concatenation."""


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    program = random_moving(SEED)
    kinds = {stage.stage.kind for stage in bind(program, random_plan(program, SEED))}
    assert {"concat", "spatial_shift"} < kinds
    folder = tmp_path_factory.mktemp("stopwatch") / "build"
    return generate(program, random_plan(program, SEED), folder, vectors=random_images(program, 1, SEED))


@pytest.fixture(scope="module")
def pixels(build):
    return random_images(build.program, IMAGES, 1)


def images_of(trace):
    """By the name of their track, the arguments of all slices of images; tracks without a name do not count."""
    names = {e["tid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "thread_name"}
    slices = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert {e["tid"] for e in slices} == set(names)
    return {name: [e["args"] for e in slices if e["tid"] == t and e["cat"] == "image"] for t, name in names.items()}


@pytest.mark.slow
@pytest.mark.guard
def test_without_stalls_the_trace_is_the_cycle_model(build, pixels):
    """Begin and end of every stage at the first image, where none holds up another; the first answer, and the rhythm
    from then on."""
    images, timing = images_of(chrome_trace(watch(build, pixels))), build.schedule

    assert list(images) == [PIXELS_TRACK, *(stage.name for stage in timing.stages), ANSWERS]
    for stage in timing.stages:
        first = images[stage.name][0]
        assert (first["first_cycle"], first["first_cycle"] + first["cycles"]) == (stage.begin, stage.end), stage.name
        assert [one["image"] for one in images[stage.name]] == list(range(IMAGES))
        assert {one["busy"] for one in images[stage.name]} == {stage.busy}
    ends = [one["first_cycle"] + one["cycles"] - 1 for one in images[ANSWERS]]
    assert (ends[0], ends[-1] - ends[-2]) == (timing.latency, timing.interval)
    assert images[PIXELS_TRACK][0]["first_cycle"] == 0
    assert {one["busy"] for one in images[ANSWERS]} == {answer_beats(build.program, 1)}


@pytest.mark.slow
@pytest.mark.parametrize("stall", ["0", "40"])
def test_the_verb_writes_the_trace_of_its_run(build, pixels, tmp_path, capsys, stall):
    """First answer and rhythm are the figures that the same command prints; stalled or not, the file is whole."""
    np.savez(tmp_path / "images.npz", test_x=pixels.transpose(0, 2, 3, 1), test_y=np.zeros(len(pixels), np.int64))
    arguments = ["simulate", build.path, "--data", tmp_path / "images.npz", "--perfetto", tmp_path / "trace.json"]

    assert main([str(argument) for argument in (*arguments, "--stall", stall, "--json")]) == 0

    keys, images = json.loads(capsys.readouterr().out), images_of(json.loads((tmp_path / "trace.json").read_text()))
    ends = [one["first_cycle"] + one["cycles"] - 1 for one in images[ANSWERS]]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["images.npz", "trace.json"]
    if stall == "0":
        assert (ends[0], ends[-1] - ends[-2]) == (keys["cycles_first_image"], keys["cycles_per_image"])
    else:
        assert ends[-1] - ends[0] > (IMAGES - 1) * keys["cycles_per_image"]


@pytest.mark.parametrize("stall", [None, Stall(share=0.4, pattern="burst")], ids=["free", "stalled"])
def test_slices_follow_each_other_and_hold_their_waits(build, pixels, stall):
    """A track that overlaps itself is drawn wrongly, or not at all, and times are cycles at the clock."""
    seen = watch(build, pixels, stall=stall)
    trace = chrome_trace(seen)

    for works in seen.tracks.values():
        assert all(one.end <= other.begin for one, other in pairwise(works))
        for work in works:
            spans = [(work.begin, work.begin), *((w.begin, w.begin + w.cycles) for w in work.waits)]
            assert all(one[1] <= other[0] for one, other in pairwise([*spans, (work.end, work.end)]))
            assert 0 <= sum(wait.cycles for wait in work.waits) <= work.waiting
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            assert event["ts"] == pytest.approx(event["args"]["first_cycle"] / build.plan.clock_mhz, abs=1e-6)
            assert event["dur"] == pytest.approx(event["args"]["cycles"] / build.plan.clock_mhz, abs=1e-6)
    reasons = {wait.reason for work in seen.tracks[ANSWERS] for wait in work.waits}
    assert ("the sink has no room" in reasons) == (stall is not None)


def test_stalls_are_those_of_the_run_with_the_same_seed(build, pixels):
    """Else the trace would be of another run than the one whose figures are printed."""
    burst = Stall(share=0.4, pattern="burst")

    one, same, other = (watch(build, pixels, stall=burst, seed=seed) for seed in (1, 1, 2))

    assert one == same != other


def test_a_stage_that_leaves_groups_out_is_named(build, pixels, monkeypatch):
    """A trace whose images are cut in the wrong places must not be written."""
    tracks = stopwatch._tracks(build)
    wrong = [stopwatch._Track(**{**vars(t), "groups": t.groups + (t.name == ANSWERS)}) for t in tracks]
    monkeypatch.setattr(stopwatch, "_tracks", lambda _: wrong)

    with pytest.raises(UserError, match=rf"answer began \d+ groups for {IMAGES} images instead of \d+"):
        watch(build, pixels)


def test_a_trace_by_hand():
    """One stage, one image of 30 cycles at 50 MHz, 10 of which it waits."""
    wait = Wait(begin=120, cycles=10, reason="waits for input")
    work = Work(image=0, begin=100, end=130, busy=20, waits=(wait,))

    events = chrome_trace(
        Timeline(clock_mhz=50.0, network="net", device="ecp5-25k", tracks={"conv": (work,)})
    )["traceEvents"]  # fmt: skip

    assert [(e["ph"], e["tid"], e["name"]) for e in events] == [
        ("M", 0, "process_name"), ("M", 1, "thread_name"), ("M", 1, "thread_sort_index"), ("X", 1, "image 0"),
        ("X", 1, "waits for input"),
    ]  # fmt: skip
    assert [(e["ts"], e["dur"]) for e in events[3:]] == [(2.0, 0.6), (2.4, 0.2)]
    assert events[3]["args"] == {"first_cycle": 100, "cycles": 30, "image": 0, "busy": 20, "waiting": 10}
