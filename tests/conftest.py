"""Shared by all tests: hypothesis profiles with printed, fixed seeds; a cache of their own where none is named."""

import os
import sys

import pytest
from hypothesis import settings

os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
# Amaranth's simulator writes deep expressions for a wide choice among many, and Python compiles them.
sys.setrecursionlimit(10_000)
# Small networks, and tests side by side: more threads only wait. Sums of floats depend on their number, too.
os.environ["OMP_NUM_THREADS"] = "1"
settings.register_profile("addax", deadline=None, derandomize=True, print_blob=True, max_examples=40)
settings.load_profile("addax")


def pytest_report_header() -> str:
    return "hypothesis: derandomized; every other random source is seeded in its test"


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
