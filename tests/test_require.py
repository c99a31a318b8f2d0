"""``ADDAX_REQUIRE=1``: where everything should be installed, a test that is skipped is a fault, not a green line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPING = """
import pytest

@pytest.mark.skipif(True, reason="no such tool")
def test_marked():
    raise AssertionError

def test_within():
    pytest.skip("no such data")

@pytest.mark.xfail(reason="known")
def test_known():
    raise AssertionError

def test_good():
    pass
"""
MODULE = "import pytest\npytest.importorskip('no_such_package', reason='no such package')\n"


@pytest.fixture
def suite(tmp_path):
    """A folder of tests under this suite's conftest; run with a value of the variable."""
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_some.py").write_text(SKIPPING)
    (tmp_path / "test_module.py").write_text(MODULE)

    def run(value):
        environment = {key: text for key, text in os.environ.items() if key not in ("ADDAX_REQUIRE", "PYTEST_ADDOPTS")}
        environment |= {} if value is None else {"ADDAX_REQUIRE": value}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-rsfE",
            "--continue-on-collection-errors",
            ".",
        ]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    return run


@pytest.mark.parametrize("value", [None, "0"])
def test_a_user_without_the_tools_is_told_what_was_skipped(value, suite):
    done = suite(value)

    assert done.returncode == 0 and "1 passed, 3 skipped, 1 xfailed" in done.stdout, done.stdout
    assert all(reason in done.stdout for reason in ("no such tool", "no such data", "no such package"))


def test_where_all_is_required_a_skip_fails_with_its_reason(suite):
    done = suite("1")

    assert done.returncode != 0
    for reason in ("no such tool", "no such data", "no such package"):
        assert f"{reason}; with ADDAX_REQUIRE=1 nothing may be skipped" in done.stdout, done.stdout
    assert "skipped," not in done.stdout
