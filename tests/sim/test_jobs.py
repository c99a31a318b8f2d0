"""What a run of the simulator ends with: answers too many, beats taken back, an interval that does not come to rest."""

import json
from pathlib import Path

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.sim import job as jobs
from addax.sim.cosim import _steady
from addax.sim.job import EXPECTED, LEASH, PIXELS_FILE, Job, run_job
from addax.sim.stall import Stall

FOUND = {"hung": False, "images": 2, "packets_ok": True, "surplus": 0, "unstable": False, "mismatches": 0}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A job whose simulator has written what it is told."""

    def ending(**found):
        def write(simulator, bench, folder, **settings):
            (folder / "outcome.json").write_text(json.dumps({**FOUND, **found}))

        monkeypatch.setattr(jobs, "run_simulator", write)
        np.save(tmp_path / PIXELS_FILE, np.zeros((2, 1, 2, 2), np.uint8))
        np.save(tmp_path / EXPECTED, np.zeros((2, 3), np.int64))
        (tmp_path / LEASH).touch()
        made = Job(
            session=Path(tmp_path), name="run", begin=0, end=2, simulator=None, beat_bits=8, answer_bits=8, elements=1,
            signed=True, classifies=True, stall=Stall(), seed=1, watchdog=100, reset_after=3,
        )  # fmt: skip
        return run_job(made)

    return ending


def test_a_run_that_ends_well_is_told(run, tmp_path):
    """And the harness was told what the job says."""
    assert run()["images"] == 2
    assert json.loads((tmp_path / "run" / "job.json").read_text())["registers"]["reset_after"] == 3


@pytest.mark.parametrize("found, says", [
    ({"surplus": 3, "hung": True}, "the RTL gives 3 beats more than was asked for"),
    ({"hung": True, "images": 1}, "the simulation hangs: no output after 1 of 2 images"),
    ({"packets_ok": False}, "the RTL ends its packets in the wrong place"),
    ({"unstable": True}, "the RTL changes or takes back a beat that waits for the sink"),
])  # fmt: skip
def test_what_the_rtl_must_not_do_ends_in_one_line(run, found, says):
    with pytest.raises(UserError, match=says) as caught:
        run(**found)
    assert caught.value.exit_code == 3


def test_an_interval_counts_when_the_one_before_it_is_as_long():
    """Queues that fill make the first ones shorter; then a longer run is made, once."""
    asked = []

    def again(images):
        asked.append(images)
        return {"ends": [0, 5, 12, 20, 28]}

    steady, filling = {"ends": [3, 10, 18, 26]}, {"ends": [0, 5, 12, 20]}
    assert _steady(steady, 48, again) is steady and not asked
    assert _steady({"ends": [3, 10]}, 48, again)["ends"] == [3, 10]
    assert _steady(filling, 48, again)["ends"][-1] == 28 and asked == [48]


def test_an_interval_that_never_comes_to_rest_is_no_interval():
    with pytest.raises(UserError, match="no steady interval: the last of 4 images are 7 and 8 cycles apart") as caught:
        _steady({"ends": [0, 5, 12, 20]}, 4, lambda images: pytest.fail("longer than the harness holds"))
    assert caught.value.exit_code == 3
