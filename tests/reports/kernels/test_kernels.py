"""What arrays cost: the rows, the counting rules, the cache, and the figures that the project promises."""

import itertools
import json
import random

import pytest
from addax.cli import main
from addax.common.errors import UserError
from addax.hdl.lanes.structures import STRUCTURES
from addax.reports.devices.devices import device
from addax.reports.devices.resources import Resources
from addax.reports.kernels.choose import PRICED_KERNELS, requests
from addax.reports.kernels.price import jobs, price
from addax.reports.kernels.savings import AUTHORS_RTL, comparison, savings
from addax.reports.synth.pairing import paired_luts
from addax.reports.tools import run as tools
from marks import guarded
from prove import difference

KEYS = {
    "kernel", "structure", "bits", "pin", "pout", "lanes", "lut", "ff", "carry", "dsp", "lut_per_lane", "fmax_mhz",
    "register_stages",
}  # fmt: skip


def rows(capsys, *arguments):
    status = main(["kernels", "--json", *arguments])
    assert status == 0
    return json.loads(capsys.readouterr().out)


# The rows


def test_one_row_per_kernel_unless_all_structures_are_asked_for(capsys):
    """Protects the keys that scripts read."""
    plain = rows(capsys, "--device", "xc7z020")
    assert [row["kernel"] for row in plain] == list(PRICED_KERNELS)
    assert all(set(row) >= KEYS and row["dsp"] is None and row["lut"] is None for row in plain)
    assert {(row["pin"], row["pout"], row["lanes"]) for row in plain} == {(16, 16, 256)}
    assert [row["bits"] for row in plain] == [8, 8, 1, 8]

    everything = rows(capsys, "--device", "xc7z020", "--all-structures")
    found = {(row["kernel"], row["structure"], row["form"]) for row in everything}
    assert len(found) == len(everything)
    for kernel, structures in STRUCTURES.items():
        for structure in structures:
            assert (kernel, structure, "generic") in found
            assert (kernel, structure, "device") in found or structure == "star"
    assert ("mult", "dsp", "generic") in found


def test_lanes_split_as_square_as_possible(capsys):
    for lanes, shape in ((256, (16, 16)), (64, (8, 8)), (48, (8, 6)), (7, (7, 1))):
        row = rows(capsys, "--device", "ecp5-85k", "--lanes", str(lanes), "--kernel", "adder")[0]
        assert (row["pin"], row["pout"]) == shape


def test_equal_registers_are_those_of_the_adder_at_its_best(capsys):
    for name in ("ecp5-85k", "xc7z020"):
        equal = {row["kernel"]: row for row in rows(capsys, "--device", name)}
        best = {row["kernel"]: row for row in rows(capsys, "--device", name, "--registers", "best")}
        assert equal["adder"]["register_stages"] == best["adder"]["register_stages"]
        assert equal["mult"]["register_stages"] == equal["adder"]["register_stages"]
        assert best["mult"]["register_stages"] > equal["mult"]["register_stages"]
    two = rows(capsys, "--device", name, "--registers", "0", "--kernel", "mult")[0]
    assert two["register_stages"] == 2


@pytest.fixture(scope="module")
def tiny():
    return requests(device("xc7z020"), pin=2, pout=2, bits=4, kernels=["adder", "mult"])


def test_cells_are_counted(tiny, capsys):
    """A device form holds the cells it instantiates; every figure of the row is a count or their ratio."""
    result = rows(capsys, "--device", "xc7z020", "--pin", "2", "--pout", "2", "--bits", "4", "--synth",
                  "--kernel", "adder", "--kernel", "mult")  # fmt: skip
    adder, mult = result
    assert adder["lut_per_lane"] == round(adder["lut"] / 4, 3)
    assert 0 < adder["lut"] < mult["lut"] and 0 < adder["lut_paired"] <= adder["lut"]
    assert adder["carry"] and adder["ff"] and adder["dsp"] == 0 == mult["dsp"]
    assert savings(price(tiny, device("xc7z020"), synth=True, place=False))["lut"] == pytest.approx(
        100 * (1 - adder["lut"] / mult["lut"])
    )


@pytest.mark.slow
@pytest.mark.guard
def test_a_multiplier_may_go_into_dsp_blocks(capsys):
    dsp = rows(capsys, "--device", "xc7z020", "--pin", "2", "--pout", "2", "--synth", "--structure", "dsp")[0]
    assert dsp["dsp"] == 4 and dsp["structure"] == "dsp"


@pytest.mark.slow
@pytest.mark.guard
def test_the_table_names_the_published_figures(capsys):
    """People see the percentages beside the paper's."""
    assert main(["kernels", "--device", "xc7z020", "--pin", "2", "--pout", "2", "--synth"]) == 0
    out = capsys.readouterr().out
    for text in ("adder", "mult", "xnor", "shift", "67.6", "71.4", "81 %", "7,065", "20,493", "per lane", "80.1 LUT"):
        assert text in out, text


# Counting


def test_counting_rules_of_the_families():
    xilinx = {"LUT1": 1, "LUT6": 2, "LUT6_2": 3, "INV": 4, "SRL16E": 5, "RAM32M": 6, "CARRY4": 7, "FDRE": 8, "BUFG": 1}
    assert Resources.of_cells(xilinx, "xc7") == Resources(lut=39, ff=8, carry=7, lutram=29)
    ecp5 = {"LUT4": 10, "CCU2C": 3, "TRELLIS_FF": 4, "PFUMX": 9, "TRELLIS_DPR16X4": 1, "MULT18X18D": 2, "DP16KD": 1}
    assert Resources.of_cells(ecp5) == Resources(lut=22, ff=4, bram=1, dsp=2, carry=3, lutram=1)
    ice40 = {"SB_LUT4": 5, "SB_CARRY": 3, "SB_DFFESR": 2, "SB_DFF": 1, "SB_MAC16": 1}
    assert Resources.of_cells(ice40, "ice40") == Resources(lut=5, ff=3, dsp=1, carry=3)


def netlist(tables):
    """Cells that read the given signals."""
    return {
        f"cell{n}": {
            "type": f"LUT{len(inputs)}",
            "connections": {**{f"I{k}": [bit] for k, bit in enumerate(inputs)}, "O": [1000 + n]},
        }
        for n, inputs in enumerate(tables)
    }


def fewest_sites(tables):
    """The minimum over all ways to pair, by brute force."""
    if not tables:
        return 0
    first, rest = tables[0], tables[1:]
    best = 1 + fewest_sites(rest)
    for k, other in enumerate(rest):
        if len(set(first) | set(other)) <= 5:
            best = min(best, 1 + fewest_sites(rest[:k] + rest[k + 1 :]))
    return best


@pytest.mark.parametrize(("tables", "sites"), [
    ([], 0),
    ([(1, 2, 3, 4, 5, 6)], 1),
    ([(1, 2), (1, 3)], 1),
    ([(1, 2), (3, 4)], 1),
    ([(1, 2, 3), (4, 5, 6)], 2),
    ([(1, 2, 3, 4, 5), (1, 2, 3, 4, 5)], 1),
    ([(1, 2, 3, 4, 5), (6,)], 2),
    ([(1, 2, 3, 4), (5,), (6, 7), (8, 9, 10)], 2),
])  # fmt: skip
def test_pairs_of_small_tables_share_a_site(tables, sites):
    assert paired_luts(netlist(tables)) == sites


def test_a_constant_takes_no_input_and_other_cells_no_site():
    cells = netlist([(1, 2, 3)])
    cells["half"] = {"type": "LUT6_2", "connections": {"I0": [1], "O5": [2], "O6": [3]}}
    cells["inv"] = {"type": "INV", "connections": {"I": [7], "O": [8]}}
    cells["tied"] = {"type": "LUT3", "connections": {"I0": [1], "I1": ["0"], "I2": [9], "O": [10]}}
    cells["ff"] = {"type": "FDRE", "connections": {"D": [1], "Q": [2]}}
    assert paired_luts(cells) == 1 + 2


def test_every_bit_of_a_carry_chain_keeps_its_site():
    """Two tables in front of carries stay apart, however few signals they read; one may take in a stranger."""
    cells = netlist([(1, 2), (3, 4), (5,)])
    cells["carry"] = {"type": "CARRY4", "connections": {"S": [1000, 1001, "0", "0"]}}
    assert paired_luts(cells) == 2
    del cells["cell2"]
    assert paired_luts(cells) == 2


@pytest.mark.parametrize("seed", range(30))
def test_pairing_is_close_to_the_best_there_is(seed):
    """Never better than possible, never worse than not pairing; a tenth of slack for the greedy choice."""
    rng = random.Random(seed)
    tables = [tuple(rng.sample(range(12), rng.randint(1, 5))) for _ in range(9)]
    sites, least = paired_luts(netlist(tables)), fewest_sites(tables)
    assert least <= sites <= min(len(tables), least + 1)


# What is priced is what was described

NETLISTS = [
    (name, request.shape.kernel, request.structure, request.form)
    for name in ("ecp5-85k", "xc7z020")
    for request in requests(device(name), pin=3, pout=1, bits=3, all_structures=True)
    if not request.dsp
]
DEFAULTS = [("ecp5-85k", "adder", "carry", "device"), ("xc7z020", "adder", "max", "device")]


def check_netlist(folder, name, kernel, structure, form):
    target = device(name)
    (request,) = (
        r for r in requests(target, pin=3, pout=1, bits=3, kernels=[kernel], structures=[structure], terms=6)
        if r.form == form
    )  # fmt: skip
    synth = f"{target.synth} {target.array_options} {target.no_dsp}"
    steps = request.shape.latency + 2
    found = difference(request.rtlil(), synth, folder, family=target.family, steps=steps)
    assert found is None, found


@pytest.mark.parametrize(("name", "kernel", "structure", "form"), guarded(DEFAULTS, DEFAULTS[-1]))
def test_the_netlist_does_what_the_circuit_does(tmp_path, name, kernel, structure, form):
    """For any inputs and stalls, until the first sums have left: what synthesis does not count must not be lost."""
    check_netlist(tmp_path, name, kernel, structure, form)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kernel", "structure", "form"), [row for row in NETLISTS if row not in DEFAULTS])
def test_all_netlists_do_what_the_circuits_do(tmp_path, name, kernel, structure, form):
    check_netlist(tmp_path, name, kernel, structure, form)


# Runs


@pytest.fixture
def fake_yosys(tmp_path, monkeypatch):
    """A tool that fails from its ``broken_from``-th synthesis on, and an empty cache."""
    monkeypatch.setenv("ADDAX_CACHE", str(tmp_path / "cache"))

    def install(broken_from):
        tickets = tmp_path / f"tickets_{broken_from}"
        tickets.mkdir()
        tool = tmp_path / "yosys"
        cells = '{"design": {"num_cells_by_type": {"LUT4": 5, "TRELLIS_FF": 2}}}'
        # Runs stand side by side: each takes the next free number, which only one can.
        tool.write_text(
            f'#!/bin/sh\n[ "$1" = -V ] && echo "Yosys 9.99" && exit 0\n'
            f"n=1; while ! mkdir {tickets}/$n 2>/dev/null; do n=$((n + 1)); done\n"
            f'[ $n -ge {broken_from} ] && echo "ERROR: out of luck" && exit 1\n'
            f"echo '{cells}' > stat.json\n"
            """echo '{"modules": {"kernel": {"cells": {}}}}' > netlist.json\n"""
        )
        tool.chmod(0o755)
        monkeypatch.setenv("ADDAX_YOSYS", str(tool))
        tools.yosys_version.cache_clear()
        return lambda: len(list(tickets.iterdir()))

    yield install
    tools.yosys_version.cache_clear()


def test_a_dying_tool_caches_nothing_and_an_interrupted_run_resumes(fake_yosys, capsys, tmp_path):
    target = device("ecp5-85k")
    wanted = requests(target, pin=2, pout=1)
    runs = fake_yosys(broken_from=2)
    with pytest.raises(UserError, match="yosys failed: ERROR: out of luck"):
        price(wanted, target, synth=True, place=False)
    kept = [path for path in (tmp_path / "cache" / "kernels").iterdir() if path.is_dir()]
    assert len(kept) == 1, "what was done is kept, what failed is not"

    runs = fake_yosys(broken_from=99)
    done = []
    costs = price(wanted, target, synth=True, place=False, progress=done.append)
    assert runs() == len(wanted) - 1 and sum(done) == jobs(wanted, synth=True, place=False, seeds=3)
    assert all(cost.resources == Resources(lut=5, ff=2) for cost in costs)

    price(wanted, target, synth=True, place=False)
    assert runs() == len(wanted) - 1, "the second time nothing runs"


def test_a_missing_tool_is_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("ADDAX_YOSYS", str(tmp_path / "nothing"))
    tools.yosys_version.cache_clear()
    try:
        assert main(["kernels", "--device", "ecp5-85k", "--lanes", "1", "--synth"]) == 1
    finally:
        tools.yosys_version.cache_clear()
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "cannot run yosys" in captured.err


@pytest.mark.parametrize(("arguments", "message"), [
    (["--device", "ecp9"], "unknown device 'ecp9'"),
    (["--lanes", "0"], "lanes must be a positive integer, not 0"),
    (["--lanes", "-4"], "lanes must be a positive integer, not -4"),
    (["--pin", "0", "--pout", "4"], "pin must be a positive integer, not 0"),
    (["--pin", "4"], "give --lanes, or both --pin and --pout"),
    (["--pin", "4", "--pout", "4", "--lanes", "16"], "give --lanes, or both --pin and --pout"),
    (["--bits", "1"], "bits must be an integer in 2..16, not 1"),
    (["--bits", "17"], "bits must be an integer in 2..16, not 17"),
    (["--kernel", "memristor"], "unknown kernel 'memristor'; known: adder, mult, xnor, shift"),
    (["--structure", "3a"], "unknown structure '3a'; known: 2a, 1c1a, carry, max, booth"),
    (["--registers", "many"], "registers must be equal, best or a number, not 'many'"),
    (["--registers", "99"], "registers between operands and accumulators must be 0.."),
    (["--terms", "0"], "terms must be a positive integer, not 0"),
    (["--seeds", "0"], "seeds must be a positive integer, not 0"),
    (["--clock", "-1"], "clock must be a positive number of MHz, not -1"),
    (["--device", "xc7z020", "--place"], "there is no open place and route for xc7z020; leave out --place"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")  # fmt: skip
def test_mistakes_are_one_clear_line(capsys, arguments, message):
    given = arguments if "--device" in arguments else ["--device", "ecp5-85k", *arguments]
    assert main(["kernels", *given]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and message in captured.err, captured.err


# What the project promises


def per_lane(capsys, *arguments):
    return {row["kernel"]: row["lut_per_lane"] for row in rows(capsys, "--synth", *arguments)}


@pytest.mark.slow
def test_promised_cost_of_256_lanes_on_7_series(capsys):
    found = per_lane(capsys, "--device", "xc7z020", "--lanes", "256", "--bits", "8")
    assert found["adder"] <= 14 and found["mult"] <= 65
    assert 1 - found["adder"] / (20493 / 256) >= 0.77, "against the authors' multiplier"


@pytest.mark.slow
def test_promised_cost_of_256_lanes_on_ecp5(capsys):
    assert per_lane(capsys, "--device", "ecp5-85k", "--lanes", "256", "--bits", "8", "--kernel", "adder")["adder"] <= 22


@pytest.mark.slow
def test_promised_cost_of_binary_lanes(capsys):
    found = per_lane(capsys, "--device", "xc7z020", "--pin", "64", "--pout", "4", "--kernel", "xnor")
    assert found["xnor"] <= 1.25


@pytest.mark.slow
def test_promised_speed_at_equal_register_stages(capsys):
    """64 lanes after place and route: the paper's adder array is 16 % faster."""
    found = rows(capsys, "--device", "ecp5-85k", "--lanes", "64", "--kernel", "adder", "--kernel", "mult", "--place")
    adder, mult = found
    assert adder["register_stages"] == mult["register_stages"]
    assert len(adder["seeds_mhz"]) == 3 and sorted(adder["seeds_mhz"])[1] == adder["fmax_mhz"]
    assert adder["fmax_mhz"] / mult["fmax_mhz"] >= 1.16


def test_comparison_needs_both_kernels(tiny):
    assert comparison(price(tiny[:1], device("xc7z020"), synth=True, place=False)) == []
    assert comparison(price(tiny, device("xc7z020"), synth=False, place=False)) == []


def test_defaults_are_known_structures():
    """Every device has a default for every kernel, and it is one of the kernel's structures."""
    for name, kernel in itertools.product(("ecp5-25k", "xc7z020", "xczu7ev", "ice40-up5k"), PRICED_KERNELS):
        request = requests(device(name), kernels=[kernel], lanes=1)[0]
        assert request.structure in STRUCTURES[kernel] and not request.dsp
    assert AUTHORS_RTL["adder_lut"] / 256 == pytest.approx(27.6, abs=0.05)
