# amaranth: UnusedElaboratable=no
"""BUILD folders that lack a file, hold a broken one or are none at all are refused."""

import json
import re

import pytest
from addax.common.errors import UserError
from addax.hdl.folder.build import open_build


@pytest.mark.parametrize(
    "name, message",
    [
        ("addax.json", "is not a BUILD folder; make one with 'addax generate'"),
        ("program.addax", "expected an .addax file"),
        ("plan.json", "cannot read plan"),
        ("manifest.json", "cannot read manifest"),
        ("addax.v", "is a broken BUILD folder: addax.v is missing"),
        ("addax_harness.v", "is a broken BUILD folder: addax_harness.v is missing"),
    ],
)
def test_a_build_that_lacks_a_file_is_refused(name, message, breakable):
    (breakable / name).unlink()

    with pytest.raises(UserError, match=message):
        open_build(breakable)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("addax.json", "{", "is not a BUILD folder"),
        ("addax.json", "[]", "is not a BUILD folder"),
        ("addax.json", "{}", "is not a BUILD folder"),
        ("addax.json", '{"kind": "export"}', "is not a BUILD folder"),
        ("program.addax", "", "is not an .addax file"),
        ("plan.json", "", "is not a plan"),
        ("plan.json", "{}", "not a plan"),
        ("manifest.json", "{", "is not a manifest"),
        ("manifest.json", "{}", "manifest"),
        ("manifest.json", "[]", "manifest"),
        ("manifest.json", '{"prefix": "addax"}', "manifest"),
    ],
)
def test_a_build_with_a_broken_file_is_refused(name, content, message, breakable):
    (breakable / name).write_text(content)

    with pytest.raises(UserError, match=re.escape(message)):
        open_build(breakable)


def test_a_build_whose_manifest_names_another_prefix_is_refused(breakable):
    manifest = json.loads((breakable / "manifest.json").read_text())
    (breakable / "manifest.json").write_text(json.dumps({**manifest, "prefix": "other"}))

    with pytest.raises(UserError, match=r"broken is a broken BUILD folder: other\.v is missing"):
        open_build(breakable)


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_what_is_no_folder_of_ours_is_no_build(kind, tmp_path):
    path = tmp_path / "x"
    if kind == "empty":
        path.mkdir()
    elif kind == "file":
        path.write_text("x")

    with pytest.raises(UserError, match=r"x is not a BUILD folder; make one with 'addax generate'"):
        open_build(path)
