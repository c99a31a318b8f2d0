"""What tests of the golden model's inner loops share: the mark of those that need a compiler, and equality."""

import shutil

import numpy as np
import pytest

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the compiled loops need g++")


def same(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape
    assert np.array_equal(a, b)
