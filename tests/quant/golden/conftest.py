"""The compiled inner loops of the golden model."""

import shutil

import pytest
from addax.quant.golden.loops import native_loops


@pytest.fixture
def native():
    if shutil.which("g++") is None:
        pytest.skip("the compiled loops need g++")
    return native_loops()
