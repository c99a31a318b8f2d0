"""Profiles of hypothesis: the fixed one gives the same examples in every run, the random one those of its seed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROPERTY = """
from hypothesis import given, strategies as st

seen = []

@given(st.integers())
def test_property(number):
    seen.append(number)

def test_what_was_seen():
    print(f"seen {hash(tuple(seen))}")
"""


@pytest.mark.slow
def test_examples_hang_on_the_profile_and_its_seed(tmp_path):
    """And the head of a run says how to repeat it."""
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_property.py").write_text(PROPERTY)

    def run(profile, *arguments):
        environment = {key: text for key, text in os.environ.items() if not key.startswith(("ADDAX_HY", "PYTEST_ADD"))}
        environment |= {} if profile is None else {"ADDAX_HYPOTHESIS": profile}
        command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout
        return re.search(r"^hypothesis: (.*);", done.stdout, re.MULTILINE)[1], re.search(r"seen (\S+)", done.stdout)[1]

    fixed, (third, again, fourth) = run(None), (run("random", f"--hypothesis-seed={seed}") for seed in (3, 3, 4))

    assert fixed[0] == "derandomized" and third[0] == "profile random, again with --hypothesis-seed 3"
    assert third == again and len({fixed[1], third[1], fourth[1]}) == 3
