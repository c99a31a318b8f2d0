"""Every kernel and width through the command line, for every fabric and family: no corner of it is left to luck.

Users choose widths of 2 to 16 bits, four kernels, and a device. Each pair of kernel and width is quantised, generated
and reported for one device, each kernel at 8 or at 16 bits for each of them; at both it is simulated, bit for bit.
"""

import json
import re
from functools import cache

import numpy as np
import pytest
from addax.cli import main
from addax.quant.files.archive import load_program
from addax.quant.program import Convolution, Requantise
from marks import guarded_but
from matrixnets import SHAPE
from torchnets import pictures

WIDTHS = {"adder": range(2, 17), "mult": range(2, 17), "shift": range(2, 17), "xnor": (8, 16)}
"""Bits of features, and of weights where the kernel has a choice: those of xnor have one bit, of shift four."""
TARGETS = (
    ("ecp5-25k", "device"), ("xc7z020", "device"), ("xczu7ev", "device"), ("ecp5-25k", "generic"),
    ("ice40-up5k", "generic"), ("gw2a-18", "generic"),
)  # fmt: skip
"""A device of every family, and every form of lanes."""
SMALL = "ice40-up5k"
UNPRICED = "gw2a-18"
"""Has no estimate, only synthesis; its report says so with nulls."""
CELLS = {"ecp5-25k": "CCU2C", "xc7z020": "CARRY4", "xczu7ev": "CARRY8"}
FULL = (8, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where all of it is written; with images."""
    folder = tmp_path_factory.mktemp("matrix")
    images = pictures(40, SHAPE, seed=3).transpose(0, 2, 3, 1)
    labels = np.arange(40) % 4
    np.savez(folder / "data.npz", train_x=images[:24], train_y=labels[:24], test_x=images[24:], test_y=labels[24:])
    return folder


@pytest.fixture(scope="module")
def quantised(folder):
    """The Program file of a kernel and a width, made once."""

    @cache
    def make(kernel, bits):
        path = folder / f"{kernel}{bits}.addax"
        arguments = ["--bits", str(bits), "--data", str(folder / "data.npz"), "-o", str(path)]
        assert main(["quantize", f"matrixnets:{kernel}", *arguments]) == 0
        return path

    return make


@pytest.fixture
def said(capsys):
    """What a verb says as JSON."""

    def call(*arguments):
        capsys.readouterr()
        status = main([*map(str, arguments), "--json"])
        captured = capsys.readouterr()
        assert status == 0, captured.err
        return json.loads(captured.out)

    return call


@pytest.mark.parametrize("kernel, bits", [(kernel, bits) for kernel, widths in WIDTHS.items() for bits in widths])
def test_every_width_becomes_a_program_of_that_width(kernel, bits, quantised):
    program = load_program(quantised(kernel, bits))

    layers = [op for op in program.ops if isinstance(op, Convolution)]
    assert [op.kernel for op in layers] == ["mult", kernel, "mult"]
    wanted = {"adder": program.format(layers[1].source).bits, "mult": bits, "xnor": 1, "shift": 4}[kernel]
    assert layers[1].weight_format.bits == wanted
    assert layers[0].weight_format.bits == layers[2].weight_format.bits == max(8, bits)
    assert program.format(layers[1].source).bits == (1 if kernel == "xnor" else bits)
    assert any(isinstance(op, Requantise) and op.residual is not None for op in program.ops)
    assert all(np.unique(op.weight).size > 1 for op in layers), "weights that are all alike protect nothing"


def cells_of(kernel, bits):
    """Which of `TARGETS` a kernel and width are built for: at 8 and 16 bits one after the other all, else one of them.

    The small device takes this network up to 8 bits.
    """
    if bits in FULL:
        return [cell for cell in TARGETS if (cell[0] in (SMALL, UNPRICED)) == (bits == 8)]
    fitting = [cell for cell in TARGETS if cell[0] != SMALL or bits < 8]
    return [fitting[(bits + list(WIDTHS).index(kernel)) % len(fitting)]]


@pytest.mark.parametrize(
    "kernel, bits, target, form",
    [(kernel, bits, *cell) for kernel, widths in WIDTHS.items() for bits in widths for cell in cells_of(kernel, bits)],
)
def test_every_cell_is_generated_and_reported(kernel, bits, target, form, quantised, folder, said):
    build = folder / "build"
    lanes = 3 if target == SMALL else 6
    made = said("generate", quantised(kernel, bits), "--device", target, "--form", form, "--lanes", lanes, "-o", build)

    assert 3 <= made["lanes"] <= lanes
    cells = set(re.findall(r"^  (CCU2C|CARRY4|CARRY8) ", (build / "addax.v").read_text(), re.MULTILINE))
    assert cells == ({CELLS[target]} if form == "device" else set())
    report = said("report", build)
    assert (report["device"], report["source"]) == (target, "estimated")
    assert report["cycles_per_image"] == made["predicted_cycles_per_image"]
    if target == UNPRICED:
        assert report["lut"] is report["ff"] is None
    else:
        assert report["lut"] > 100 and report["ff"] > 100


SIMULATED = [(kernel, bits) for kernel in WIDTHS for bits in FULL]


@pytest.mark.parametrize("kernel, bits", guarded_but(SIMULATED, ("adder", 16), ("xnor", 8)))
def test_every_kernel_is_bit_exact_at_8_and_16_bits(kernel, bits, quantised, folder, said):
    build = folder / "simulated"
    form = ("generic", *(form for _, form in TARGETS))[SIMULATED.index((kernel, bits)) % 2]
    target = TARGETS[SIMULATED.index((kernel, bits)) % 3][0]
    said("generate", quantised(kernel, bits), "--device", target, "--form", form, "--lanes", 6, "-o", build)

    value = said("simulate", build, "--data", folder / "data.npz", "--images", 12)

    assert (value["images"], value["mismatches"], value["bit_exact"]) == (12, 0, True)
    assert value["cycles_per_image"] == value["predicted_cycles_per_image"]


def test_lenet5_goes_all_the_way_at_16_bits(folder, said):
    """What failed: every BUILD of 9 to 16 bits ended in an internal error."""
    net, build = folder / "lenet.addax", folder / "lenet"
    assert main(["quantize", "lenet5", "--kernel", "adder", "--bits", "16", "--data", "digits", "-o", str(net)]) == 0

    accuracy = said("evaluate", net, "--data", "digits")["accuracy"]
    said("generate", net, "--device", "ecp5-85k", "--lanes", 80, "-o", build)
    value = said("simulate", build, "--data", "digits", "--images", 4)
    report = said("report", build)

    assert accuracy >= 0.99
    assert (value["images"], value["mismatches"], value["bit_exact"]) == (4, 0, True)
    assert value["cycles_per_image"] == value["predicted_cycles_per_image"] == report["cycles_per_image"]
    assert report["lut"] > 5000
