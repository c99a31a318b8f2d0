"""Which inner loops there are: compiled ones where a compiler works, kept for the next process, else numpy's."""

import os
import platform
import shutil
from pathlib import Path

import pytest
from addax.common import native as native_module
from addax.quant import golden
from addax.quant.golden import execute
from addax.quant.golden.loops import NativeLoops, NumpyLoops, native_loops
from loop_kinds import needs_compiler, same
from networks import random_graph, random_images


def test_loops_are_compiled_where_there_is_a_compiler(native):
    """Else every test of the compiled loops would be one of the others."""
    assert isinstance(native, NativeLoops) and (native.name, NumpyLoops.name) == ("native", "numpy")
    assert native_loops() is native


@pytest.fixture
def anew(monkeypatch, tmp_path):
    """The loops as a machine would find them that has never made any; what other tests have stays theirs."""
    monkeypatch.setenv("ADDAX_CACHE", str(tmp_path / "cache"))
    native_loops.cache_clear()
    yield native_loops
    native_loops.cache_clear()


@pytest.fixture
def compiler(monkeypatch, tmp_path):
    """A g++ of our own, first in PATH."""

    def make(script):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "g++").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "g++").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return make


def scores_by_both(seed=0):
    program = random_graph(seed)
    images = random_images(program, 5, seed)
    return [golden.run(program, images, native=native).scores.tolist() for native in (True, False)]


def test_without_a_compiler_the_numpy_loops_serve(monkeypatch, anew):
    """Whoever installs the wheel need not have g++; the scores are the same."""
    monkeypatch.setattr(shutil, "which", lambda *args, **more: None)

    assert isinstance(anew(), NumpyLoops)
    one, other = scores_by_both()
    assert one == other


FAKES = {
    "fails": "echo cannot compile >&2; exit 1",
    "writes nothing": "exit 0",
    "writes no library": 'while [ "$1" != -o ]; do shift; done; echo text > "$2"',
    "is killed": "kill -9 $$",
}


@pytest.mark.parametrize("script", FAKES.values(), ids=FAKES.keys())
def test_a_compiler_that_does_not_work_leaves_the_numpy_loops(anew, compiler, capfd, script):
    """It is no error, and says nothing on the user's terminal."""
    compiler(script)

    assert isinstance(anew(), NumpyLoops)
    one, other = scores_by_both()
    assert one == other
    assert capfd.readouterr() == ("", "")


def test_a_compiler_that_cannot_be_started_leaves_the_numpy_loops(anew, compiler, tmp_path):
    compiler("")
    (tmp_path / "bin" / "g++").write_text("#!/nowhere/sh\n")

    assert isinstance(anew(), NumpyLoops)


@needs_compiler
def test_a_compiler_that_failed_once_may_be_repaired(anew, compiler, tmp_path):
    """A failure leaves nothing behind that would be taken for the loops."""
    compiler(FAKES["fails"])
    assert isinstance(anew(), NumpyLoops)
    assert not list((tmp_path / "cache").rglob("*.so"))

    (tmp_path / "bin" / "g++").unlink()
    anew.cache_clear()

    assert isinstance(anew(), NativeLoops)


def test_a_cache_that_cannot_be_written_leaves_the_numpy_loops(monkeypatch, anew, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ADDAX_CACHE", str(tmp_path / "file" / "cache"))

    assert isinstance(anew(), NumpyLoops)


@needs_compiler
def test_compiled_loops_are_kept_for_the_next_process(anew, compiler, tmp_path):
    """Once compiled, no compiler runs again; it must be there, as a machine without one is told apart by that."""
    first = anew()
    made = list((tmp_path / "cache").rglob("loops.so"))
    assert isinstance(first, NativeLoops) and len(made) == 1

    compiler(FAKES["fails"])
    anew.cache_clear()

    assert isinstance(anew(), NativeLoops)
    assert list((tmp_path / "cache").rglob("loops.so")) == made


@needs_compiler
def test_another_processor_gets_loops_of_its_own(monkeypatch, anew, tmp_path):
    """What -march=native makes must not be taken from a cache that machines share."""
    anew()
    monkeypatch.setattr(native_module, "processor", lambda: "flags: none")
    anew.cache_clear()
    anew()

    assert len(list((tmp_path / "cache").rglob("loops.so"))) == 2


def test_a_processor_that_tells_nothing_of_itself_has_a_name_all_the_same(monkeypatch):
    """Systems without /proc."""

    def unreadable(*args, **more):
        raise FileNotFoundError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", unreadable)
        found = native_module.processor()

    assert found == platform.processor()


@pytest.mark.parametrize("seed", range(20))
def test_golden_model_gives_the_same_by_both_and_by_any_threads(monkeypatch, native, seed):
    """Every tensor of whole networks, over several batches."""
    program = random_graph(100 + seed)
    images = random_images(program, 70, seed)
    monkeypatch.setattr(execute, "_BATCH_IMAGES", 16)
    first = golden.run(program, images, trace=True, native=True, threads=1)
    for is_native, threads in ((True, 3), (False, 1), (False, 3)):
        other = golden.run(program, images, trace=True, native=is_native, threads=threads)
        same(first.scores, other.scores)
        same(first.classes, other.classes)
        assert first.tensors.keys() == other.tensors.keys()
        for name, tensor in first.tensors.items():
            same(tensor, other.tensors[name])
