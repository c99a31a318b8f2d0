"""What the tool writes for a fixed set of networks, as checksums: a change of structure alone must not change one byte.

    python -m tests.identity write BEFORE.json            before the change
    python -m tests.identity compare BEFORE.json          after it; names every file that differs, ends 1 if one does
    python -m tests.identity compare BEFORE.json lenet5   of those whose names begin like that

The set holds every kernel at several widths, every family of devices, every option of `generate` that changes
hardware, every export, files of other tools read back, and random networks of all operations.
"""

import contextlib
import hashlib
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
from addax.cli import main
from addax.quant.files.archive import save_program

ROOT = Path(__file__).parent
sys.path[:0] = [str(ROOT / "support" / room) for room in ("graphs", "programs")]

from foreign import random_network  # noqa: E402  the folders of helpers are on the path only now
from matrixnets import SHAPE  # noqa: E402
from networks import (  # noqa: E402
    random_chain,
    random_graph,
    random_moving,
    random_program,
    random_reshaping,
    random_residual,
)  # fmt: skip
from torchnets import pictures  # noqa: E402

MAKERS = (random_program, random_chain, random_graph, random_reshaping, random_residual, random_moving)
SEEDS = range(2)
FOREIGN = range(12)
SMALL = {"adder": (2, 5, 8, 16), "mult": (3, 8, 12), "shift": (4, 8, 16), "xnor": (8,)}
"""Widths of the small network of the matrix."""
EMBEDDED = (("adder", 8), ("adder", 16), ("mult", 8), ("shift", 8), ("xnor", 8))
HARDWARE = (
    ["--device", "ecp5-45k", "--fill"], ["--device", "xc7z020", "--form", "device", "--fill"],
    ["--device", "xczu7ev", "--form", "device", "--fill"],
    ["--device", "ecp5-25k", "--form", "device", "--control", "axi-lite", "--fill"],
    ["--device", "gw2a-18", "--lanes", "20"],
    ["--device", "ice40-up5k", "--lanes", "4", "--control", "wishbone", "--prefix", "other"],
    [
        "--device", "xc7z020", "--fixed-weights", "--multipliers", "lut", "--requantise", "lut", "--memory", "block",
        "--fill",
    ],
)  # fmt: skip


def said(*arguments: object) -> str:
    """What a verb says as JSON, or how it refuses."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    return out.getvalue() if status == 0 else f"{status}: {err.getvalue().splitlines()[-1:]}"


def files_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below ``folder``; of pages only what they are made of."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".html":
            yield str(path.relative_to(folder)), path.read_bytes()


def built(program: Path, name: str, options: list[str], folder: Path) -> Iterator[tuple[str, bytes]]:
    """A BUILD and its report."""
    build = folder / "build"
    shutil.rmtree(build, ignore_errors=True)
    yield f"{name}/generate", said("generate", program, *options, "--json", "-o", build).encode()
    if build.exists():
        for path, data in files_of(build):
            yield f"{name}/{path}", data
        pages = folder / "report"
        shutil.rmtree(pages, ignore_errors=True)
        yield f"{name}/report", said("report", build, "--json", "-o", pages).encode()
        if pages.exists():
            report = json.loads((pages / "report.json").read_text())
            del report["provenance"]  # the commit and the time of day
            yield f"{name}/report.json", json.dumps(report).encode()


def exported(program: Path, name: str, folder: Path) -> Iterator[tuple[str, bytes]]:
    """All exports, and what the ONNX files give when they are read."""
    for form in ("qonnx", "qcdq", "npz", "c"):
        out = folder / form
        shutil.rmtree(out, ignore_errors=True)
        yield f"{name}/{form}", said("export", program, "--format", form, "--json", "-o", out).encode()
        if not out.exists():
            continue
        for path, data in files_of(out):
            yield f"{name}/{form}/{path}", data
        for model in sorted(out.glob("*.onnx")):
            again = folder / "again.addax"
            again.unlink(missing_ok=True)
            said("quantize", model, "-o", again)
            if again.exists():
                yield f"{name}/{form}/read", again.read_bytes()


def everything(folder: Path, begin: str = "") -> Iterator[tuple[str, bytes]]:
    """All artefacts of the set whose names begin with ``begin``, by name."""
    images = pictures(40, SHAPE, seed=3).transpose(0, 2, 3, 1)
    labels = np.arange(40) % 4
    data = folder / "data.npz"
    np.savez(data, train_x=images[:24], train_y=labels[:24], test_x=images[24:], test_y=labels[24:])
    program = folder / "net.addax"
    small = [(kernel, bits) for kernel, widths in SMALL.items() for bits in widths]
    for number, (kernel, bits) in enumerate(small):
        if (name := f"small-{kernel}{bits}").startswith(begin):
            said("quantize", f"matrixnets:{kernel}", "--bits", bits, "--data", data, "-o", program)
            yield f"{name}/program", program.read_bytes()
            for turn in (number, 3 * number + 1):
                which = turn % len(HARDWARE)
                yield from built(program, f"{name}/{which}", HARDWARE[which], folder)
    for kernel, bits in EMBEDDED:
        if (name := f"lenet5-{kernel}{bits}").startswith(begin):
            said("quantize", "lenet5", "--kernel", kernel, "--bits", bits, "--data", "digits", "-o", program)
            yield f"{name}/program", program.read_bytes()
            right = json.loads(said("evaluate", program, "--limit", 50, "--data", "digits", "--json"))["correct"]
            yield f"{name}/correct", str(right).encode()
            yield from built(program, name, ["--device", "ecp5-85k", "--lanes", "200"], folder)
            yield from exported(program, name, folder)
    for make, seed in product(MAKERS, SEEDS):
        if (name := f"{make.__name__}-{seed}").startswith(begin):
            save_program(program, make(seed))
            yield f"{name}/program", program.read_bytes()
            yield from built(program, name, ["--device", "ecp5-45k", "--lanes", "60"], folder)
            yield from exported(program, name, folder)
    for seed in FOREIGN:
        if (name := f"foreign-{seed}").startswith(begin):
            graph, output, shape = random_network(seed)
            model = folder / "foreign.onnx"
            model.write_bytes(graph.model(output, shape).SerializeToString())
            program.unlink(missing_ok=True)
            yield f"{name}/said", said("quantize", model, "-o", program).encode()
            if program.exists():
                yield f"{name}/program", program.read_bytes()


def checksums(begin: str) -> dict[str, str]:
    """The SHA-256 of every artefact whose name begins so."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, data in everything(Path(folder), begin):
            found[name] = hashlib.sha256(data.replace(folder.encode(), b"")).hexdigest()
    return found


def run(verb: str, path: Path, begin: str = "") -> int:
    """Write or compare; the exit status."""
    found = checksums(begin)
    if verb == "write":
        path.write_text(json.dumps(found, indent=1))
        print(f"{len(found)} artefacts")
        return 0
    before = {name: sum_ for name, sum_ in json.loads(path.read_text()).items() if name.startswith(begin)}
    differ = sorted(name for name in before.keys() | found.keys() if before.get(name) != found.get(name))
    for name in differ:
        print(f"differs: {name}")
    print(f"{len(found)} artefacts, {len(differ)} differ")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:4]))
