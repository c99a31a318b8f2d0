"""What users put into or change in a folder of addax stays when the folder is replaced."""

import contextlib
import errno
import json
import os
import stat

import pytest
from addax.common.errors import UserError
from addax.common.files import atomic_directory, sha256_of, write_json
from trees import fill, names, tree


def test_what_is_the_users_in_a_replaced_folder_stays(tmp_path):
    """Notes, scripts and whole folders beside the results of an earlier run are nobody's to delete."""
    out = tmp_path / "out"
    fill(out, text="old")
    (out / "notes.txt").write_text("mine")
    os.utime(out / "notes.txt", (1e9, 1e9))
    (out / "sim" / "empty").mkdir(parents=True)
    (out / "sim" / "run.sh").write_text("#!/bin/sh")
    (out / "sim" / "run.sh").chmod(0o750)
    (out / "sim" / "latest").symlink_to("run.sh")
    (out / "nowhere").symlink_to("gone")
    number = (out / "notes.txt").stat().st_ino

    for text in ("new", "newer"):
        fill(out, text=text)

        assert tree(out) == {
            "data.txt": text, "notes.txt": "mine", "sim": None, "sim/empty": None, "sim/run.sh": "#!/bin/sh",
            "sim/latest": "run.sh", "nowhere": "gone",
        }  # fmt: skip
        assert ((out / "notes.txt").stat().st_mtime, (out / "notes.txt").stat().st_ino) == (1e9, number)
        assert stat.S_IMODE((out / "sim" / "run.sh").stat().st_mode) == 0o750
        assert names(tmp_path) == ["out"]


def test_what_is_the_users_stays_where_there_are_no_hard_links(tmp_path, monkeypatch):
    fill(tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")

    def refused(*arguments, **options):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    fill(tmp_path / "out")

    assert tree(tmp_path / "out") == {"data.txt": "new", "notes.txt": "mine"}


def test_what_the_user_puts_there_while_addax_works_stays(tmp_path):
    fill(tmp_path / "out")

    with atomic_directory(tmp_path / "out", "build") as folder:
        (folder / "data.txt").write_text("new")
        (tmp_path / "out" / "notes.txt").write_text("mine")

    assert tree(tmp_path / "out") == {"data.txt": "new", "notes.txt": "mine"}


@pytest.mark.parametrize("make", [lambda path: path.write_text("mine"), lambda path: path.mkdir()])
def test_a_new_file_never_takes_the_place_of_one_of_the_users(tmp_path, make):
    fill(tmp_path / "out", text="old")
    make(tmp_path / "out" / "more.txt")
    before = tree(tmp_path / "out")

    with (
        pytest.raises(UserError, match=r"out/more\.txt was not written by addax, and a new file of that name"),
        atomic_directory(tmp_path / "out", "build") as folder,
    ):
        (folder / "data.txt").write_text("new")
        (folder / "more.txt").write_text("new")

    assert tree(tmp_path / "out") == before
    assert names(tmp_path) == ["out"]


def test_an_edited_file_is_kept_beside_the_new_one_and_told(tmp_path, capfd):
    """Whoever edits a result in place must not lose the hours that it took."""
    out = tmp_path / "out"
    fill(out, text="old")
    (out / "data.txt").write_text("edited once")
    fill(out)
    assert tree(out) == {"data.txt": "new", "data.txt.edited": "edited once"}
    assert "out/data.txt was edited; it is kept as data.txt.edited" in capfd.readouterr().err

    (out / "data.txt").write_text("edited once")
    fill(out)
    assert tree(out) == {"data.txt": "new", "data.txt.edited": "edited once"}, "the same is kept once"

    (out / "data.txt").unlink()
    (out / "data.txt").symlink_to("data.txt.edited")
    fill(out, text="newer")
    assert tree(out) == {"data.txt": "newer", "data.txt.edited": "edited once", "data.txt.edited2": "data.txt.edited"}


def test_an_edited_file_that_the_new_one_agrees_with_is_gone(tmp_path):
    """``generate --plan build/plan.json -o build`` writes what was edited, perhaps in another layout."""
    with atomic_directory(tmp_path / "out", "build") as folder:
        write_json(folder / "plan.json", {"pe": 1, "simd": 2})
    (tmp_path / "out" / "plan.json").write_text('{"simd": 2, "pe": 4}')

    with atomic_directory(tmp_path / "out", "build") as folder:
        write_json(folder / "plan.json", {"pe": 4, "simd": 2})

    assert names(tmp_path / "out") == ["addax.json", "plan.json"]


def test_results_of_what_is_replaced_go_with_it_but_for_what_is_the_users(tmp_path):
    """A report of the old build would be taken for one of the new."""
    out = tmp_path / "out"
    fill(out)
    for name, kind in {"report": "report", "board": "bitstream", "kept": "report", "other": "build"}.items():
        fill(out / name, kind=kind, text=name)
    (out / "report" / "notes.txt").write_text("mine")
    (out / "report" / "data.txt").write_text("edited")
    results = {"report": "report", "board": "bitstream"}

    with atomic_directory(out, "build", results=results) as folder:
        (folder / "data.txt").write_text("new")

    assert set(tree(out)) == {
        "data.txt", "report", "report/addax.json", "report/notes.txt", "report/data.txt.edited", "kept",
        "kept/addax.json", "kept/data.txt", "other", "other/addax.json", "other/data.txt",
    }  # fmt: skip

    fill(out / "report", kind="report", text="of the new build")
    assert names(out / "report") == ["addax.json", "data.txt", "data.txt.edited", "notes.txt"]


def before_lists(path, kind, extra=()):
    """A folder as earlier versions wrote it."""
    path.mkdir()
    (path / "addax.json").write_text(json.dumps({"kind": kind}))
    files = {"report.html": "", "report.json": "{}"} if kind == "report" else {"data.txt": "old", "a.mem": "0"}
    for name, text in (files | dict.fromkeys(extra, "mine")).items():
        (path / name).write_text(text)
    if kind != "report":
        manifest = {"files": {"data.txt": sha256_of(b"old")}, "memories": [{"file": "a.mem"}]}
        (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("kind", ["build", "report"])
def test_folder_of_an_earlier_version_is_replaced_or_refused(tmp_path, kind):
    """Its marker lists no files; what is not known for certain to be addax's may be the user's."""
    before_lists(tmp_path / "known", kind)
    fill(tmp_path / "known", kind=kind)
    assert names(tmp_path / "known") == ["addax.json", "data.txt"]

    before_lists(tmp_path / "strange", kind, extra=["notes.txt"])
    before = tree(tmp_path / "strange")
    with pytest.raises(
        UserError, match=r"strange was written by an earlier version of addax, and notes\.txt in it may"
    ):
        fill(tmp_path / "strange", kind=kind)
    assert tree(tmp_path / "strange") == before


@pytest.mark.parametrize("files", [[], "all", {"../secret.txt": "0", "/etc": 3, "data.txt": None}])
def test_a_strange_list_in_a_marker_deletes_nothing_of_the_users(tmp_path, files):
    fill(tmp_path / "out")
    (tmp_path / "secret.txt").write_text("mine")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "out" / "addax.json").write_text(json.dumps({"kind": "build", "files": files}))

    with contextlib.suppress(UserError):
        fill(tmp_path / "out")

    assert (tmp_path / "secret.txt").read_text() == (tmp_path / "out" / "notes.txt").read_text() == "mine"
