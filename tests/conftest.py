"""Shared by all tests: hypothesis profiles, the fixed one and a random one that says how to repeat it."""

import os
import sys

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
# Amaranth's simulator writes deep expressions for a wide choice among many, and Python compiles them.
sys.setrecursionlimit(10_000)
# Small networks, and tests side by side: more threads only wait. Sums of floats depend on their number, too.
os.environ["OMP_NUM_THREADS"] = "1"
settings.register_profile("addax", deadline=None, derandomize=True, print_blob=True, max_examples=40)
# Other examples in every run. No database: they hang on the seed alone. How long an example takes says nothing where
# other processes want the cores.
settings.register_profile(
    "random", settings.get_profile("addax"), derandomize=False, database=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
PROFILE = os.environ.get("ADDAX_HYPOTHESIS", "addax")
settings.load_profile(PROFILE)


def pytest_report_header(config) -> str:
    rest = "every other random source is seeded in its test"
    if PROFILE == "addax":
        return f"hypothesis: derandomized; {rest}"
    seed = config.getoption("hypothesis_seed")
    again = "no --hypothesis-seed was given" if seed is None else f"again with --hypothesis-seed {seed}"
    return f"hypothesis: profile {PROFILE}, {again}; {rest}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return required((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return required((yield))


def required(report):
    """``report``, failed where it was skipped and ``$ADDAX_REQUIRE`` is 1: whoever sets it has all that tests need."""
    if os.environ.get("ADDAX_REQUIRE") == "1" and report.skipped and not hasattr(report, "wasxfail"):
        where, line, reason = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{where}:{line}: {reason}; with ADDAX_REQUIRE=1 nothing may be skipped"
    return report


@pytest.fixture(scope="session")
def digits():
    from addax.models import data

    return data.load("digits", "test")


@pytest.fixture(scope="session")
def calibration():
    from addax.models import data

    return data.load("digits", "train").x[:200]


@pytest.fixture(scope="session")
def lenet(calibration):
    """Quantised LeNet-5 by kernel and bits, each made once."""
    from functools import cache

    from addax.quant.quantize import quantize

    @cache
    def make(kernel="adder", bits=8):
        return quantize("lenet5", kernel=kernel, weights=None, bits=bits, data_source="digits")

    return make
