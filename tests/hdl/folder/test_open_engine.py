"""BUILD folders of engines that are broken are refused, in the words of the other BUILD folders."""

import json
import re

import pytest
from addax.common.errors import UserError
from addax.common.files import atomic_directory, sha256_of
from addax.hdl.folder.build import open_build
from addax.hdl.folder.engine import ENGINE_KIND, open_engine
from engine_networks import small_plan


@pytest.fixture
def folder(tmp_path):
    """A folder with all that is looked at; its Verilog is not."""
    with atomic_directory(tmp_path / "E", ENGINE_KIND) as made:
        (made / "plan.json").write_text(json.dumps(small_plan().to_json()))
        for name in ("addax.v", "addax_harness.v"):
            (made / name).write_text(name)
        files = {
            file.name: sha256_of(file.read_bytes()) for file in sorted(made.iterdir()) if file.name != "addax.json"
        }
        (made / "manifest.json").write_text(json.dumps({"prefix": "addax", "files": files}))
    return tmp_path / "E"


def edited(folder, **changes):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))


def test_a_whole_folder_is_opened(folder):
    assert open_engine(folder).plan == small_plan()


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda f: (f / "addax.v").write_text("other"), "addax.v was changed after 'addax generate'"),
        (lambda f: (f / "addax.v").unlink(), "addax.v is missing"),
        (lambda f: (f / "plan.json").write_text("{}"), "plan.json was changed after 'addax generate'"),
        (lambda f: edited(f, files={}), "addax.v is missing from its manifest"),
        (lambda f: edited(f, files={"../addax.v": "0"}), "names '../addax.v', which is no file of the folder"),
        (lambda f: edited(f, files=[]), "does not say the checksums of its files"),
        (lambda f: edited(f, prefix="1x"), "its manifest is incomplete"),
    ],
)
def test_a_broken_folder_is_refused_in_one_line(folder, spoil, message):
    spoil(folder)
    with pytest.raises(UserError, match=re.escape(message)):
        open_engine(folder)


def test_verbs_for_other_builds_say_what_it_is(folder):
    with pytest.raises(UserError, match="E is an engine, without a network in it"):
        open_build(folder)
