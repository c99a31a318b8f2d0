"""Verbs ended at random moments by SIGTERM or SIGKILL: is the next run right, is nothing left?

python -m tests.bench.kills [SEED] [--moments N]

A moment is uniform over the time that an undisturbed run took. Every second run, by chance, finds cache and results of
an earlier one, with files of the user's among them. After the signal, what stands is whole or absent, what was there
before is as it was, no process lives on, and after SIGTERM no temporary name is left. SIGKILL leaves names that say so
(`.NAME.addax-part`, `.NAME.addax-old`, locks of the cache), which the next run of the same command has removed when it
ends with the files and the JSON of the undisturbed one. Both share a cache, whose whole entries are used again.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from addax.common.interrupts import signals_interrupt

from .aftermath import entries_of, files_of, leftovers, survivors
from .kill_cases import CASES, environment, prepare, verb
from .trained import budget

__all__ = ["campaign"]

MOMENTS = 50
PATIENCE = 120
"""Seconds in which a run that is told to end has ended, and all that it started."""
ENDED = {signal.SIGTERM: (130, -signal.SIGTERM, 0), signal.SIGKILL: (-signal.SIGKILL, 0)}
"""Statuses: SIGTERM is an interrupt from where the verb begins to where it ends."""
KILLED = re.compile(r"(\.|addax-).+\.addax-(part|old)|[0-9a-f]{32}\.lock")
"""Names that SIGKILL may leave until the next run."""
NOTES = "notes.txt"
"""The user's."""


class Undisturbed:
    """What a verb says and writes when nobody ends it, and the seconds that it takes the first and the second time."""

    def __init__(self, name, home):
        self.case, self.given, self.place = CASES[name], home / "given", home / name.replace(" ", "-")
        self.fresh(self.place)
        begin = time.monotonic()
        self.said = verb(self.case, self.given, self.place)
        middle = time.monotonic()
        self.files = files_of(self.place / "work")
        said, files = verb(self.case, self.given, self.place), files_of(self.place / "work")
        differ = sorted(name for name in files.keys() | self.files.keys() if files.get(name) != self.files.get(name))
        assert said == self.said and not differ, f"{name} is something else every time: {differ}, {said}, {self.said}"
        self.seconds = (middle - begin, time.monotonic() - middle)
        self.folders = [name.removesuffix("addax.json") for name in self.files if Path(name).name == "addax.json"]

    def fresh(self, place):
        """A place where nothing ran before."""
        for part in ("work", "scratch"):
            (place / part).mkdir(parents=True)
        if self.case.compiles:
            (place / "cache").mkdir()
        else:
            shutil.copytree(self.given / "cache", place / "cache")


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When and how a run is ended: with its group or alone, and whether an earlier one has been there."""

    number: signal.Signals
    group: bool
    earlier: bool
    delay: float

    def of(self, whole, place):
        """End a run of the verb in ``place`` and run it once more. Its status, what is left of it, what is wrong."""
        expected = self._before(whole, place)
        status, wrong = self._ended(whole, place)
        until = time.monotonic() + PATIENCE
        while (left := survivors(place)) and time.monotonic() < until:
            time.sleep(0.1)
        wrong += [f"lives on: {command}" for command in left]
        wrong += self.standing(whole, place, expected)
        names = leftovers(place)
        wrong += [f"left: {name}" for name in names if self.number != signal.SIGKILL or not KILLED.fullmatch(name)]
        return status, names, wrong + next_run(whole, place, expected)

    def _before(self, whole, place):
        """Lay out ``place``. The files that stand there in the end."""
        if self.earlier:
            shutil.copytree(whole.place, place)
        else:
            whole.fresh(place)
        for folder in ("", *(whole.folders if self.earlier else ())):
            (place / "work" / folder / NOTES).write_text(f"the user's in {folder}")
        return whole.files | {name: value for name, value in files_of(place / "work").items() if users(name)}

    def _ended(self, whole, place):
        """The status of a run that the signal ended, and what is wrong with it."""
        with (place / "errors").open("w+") as errors:
            process = subprocess.Popen(
                whole.case.command(whole.given), cwd=place / "work", env=environment(place), stderr=errors,
                stdout=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(self.delay)
                if process.poll() is None:
                    (os.killpg if self.group else os.kill)(process.pid, self.number)
                status = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                return None, [f"runs {PATIENCE} seconds after the signal"]
            finally:
                process.kill()
                process.wait()
        text = (place / "errors").read_text()
        bad = status not in ENDED[self.number] or "Traceback" in text
        return status, [f"status {status}: {text.strip()[-200:]}"] if bad else []

    def standing(self, whole, place, expected):
        """What is wrong with the files that a run that was ended left."""
        found = files_of(place / "work")
        wrong = []
        for name in [name for name in found if whole.case.goes_on and name.endswith((".csv", ".state.safetensors"))]:
            begun = found.pop(name)  # rows of the epochs so far, and the state after the last of them
            wrong += [f"{name} is not whole"] if begun != expected.get(name, begun)[: len(begun)] else []
        wrong += [f"{name} is not as it should be" for name in found if found[name] != expected.get(name)]
        must = {name for name in expected if self.earlier or users(name)}
        for folder in whole.folders:
            inside = {name for name in expected if name.startswith(folder)}
            must |= inside if inside & found.keys() else set()
        return wrong + [f"{name} is missing" for name in sorted(must - found.keys())]


def users(name):
    """Whether a file is the user's."""
    return Path(name).name == NOTES


def next_run(whole, place, expected):
    """What is wrong with the run of the same command after one that was ended."""
    entries = entries_of(place)
    try:
        said = verb(whole.case, whole.given, place)
    except RuntimeError as error:
        return [f"the next run: {error}"]
    found, now = files_of(place / "work"), entries_of(place)
    differ = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    return [
        *(["the next run says something else"] if said != whole.said else []),
        *(f"the next run: {name} differs" for name in differ),
        *(f"the next run left {name}" for name in leftovers(place)),
        *(f"{entry.relative_to(place)} was made anew" for entry in entries if now.get(entry) != entries[entry]),
    ]


def campaign(seed, moments, names=tuple(CASES), row=print):
    """End the verbs ``names`` in turn at so many moments, and tell a line of each. How many were wrong."""
    rng = np.random.default_rng(seed)
    row(f"seed {seed}")
    bad = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        home = Path(folder)
        prepare(home / "given")
        known = {}
        for count in range(moments):
            name = names[count % len(names)]
            whole = known[name] = known.get(name) or Undisturbed(name, home)
            number = (signal.SIGTERM, signal.SIGKILL)[int(rng.integers(2))]
            group, earlier = (bool(draw) for draw in rng.integers(2, size=2))
            earlier = earlier and not whole.case.goes_on  # who goes on has nothing to do behind the end
            seconds = whole.seconds[earlier]
            drawn = Moment(number=number, group=group, earlier=earlier, delay=float(rng.uniform(0, seconds)))
            status, left, wrong = drawn.of(whole, home / f"moment{count}")
            shutil.rmtree(home / f"moment{count}")
            told = f"WRONG: {'; '.join(wrong)}" if wrong else "next run right"
            how = f"{number.name} to {'its group' if group else 'it'}, {'again' if earlier else 'first run'}"
            row(f"{name}: {how}, {drawn.delay:.2f} of {seconds:.2f} s: status {status}, {len(left)} left, {told}")
            bad += bool(wrong)
    row(f"{moments} moments, {bad} wrong")
    return bad


def main():
    given, moments = budget(sys.argv[1:], "--moments", MOMENTS)
    seed = int(given[0]) if given else int(time.time())
    with signals_interrupt():  # the run that is ended next is ours to end
        bad = campaign(seed, moments, row=lambda line: print(line, flush=True))
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
