"""C++ that is compiled when it is needed: once for a source and its headers."""

import shutil

import pytest
from addax.common.native import compiled

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


def test_a_changed_header_makes_another_library(monkeypatch, tmp_path):
    """Else an old library would answer for the new sources."""
    monkeypatch.setenv("ADDAX_CACHE", str(tmp_path / "cache"))
    source, header = tmp_path / "made.cpp", tmp_path / "number.h"
    source.write_text('#include "number.h"\nextern "C" int number() { return NUMBER; }\n')
    found = []
    for number in (1, 2, 1):
        header.write_text(f"#define NUMBER {number}\n")
        found.append(compiled(source).number())
    assert found == [1, 2, 1]
    assert len(list((tmp_path / "cache" / "made").glob("*/made.so"))) == 2


def test_what_does_not_compile_is_no_library(monkeypatch, tmp_path):
    monkeypatch.setenv("ADDAX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "wrong.cpp").write_text("no C++\n")
    assert compiled(tmp_path / "wrong.cpp") is None
