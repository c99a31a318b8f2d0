"""Verbs on tiny networks, as `kills` runs them: what each is given, and what it writes."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
from addax.models import data
from addax.quant.files.archive import save_program
from addax.quant.formats import unsigned
from network_builder import Builder

from .aftermath import as_told

__all__ = ["CASES", "environment", "prepare", "verb"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One verb.

    Attributes
    ----------
    arguments : of the command line; ``{given}`` is the folder that `prepare` fills
    goes_on : it keeps its state between two runs, under names that hold ``.state.``
    compiles : it begins without the compiled loops of the golden model, which all others find in the cache
    """

    arguments: str
    goes_on: bool = False
    compiles: bool = False

    def command(self, given):
        """The whole command line."""
        rest = self.arguments.format(given=given).split()
        return [sys.executable, "-m", "addax.cli", *rest, "--json"]


CASES = {
    "train": Case(
        arguments="train lenet5 --data {given}/digits.npz --epochs 3 --resume -o lenet5.safetensors", goes_on=True
    ),
    "quantize": Case(arguments="quantize lenet5 --calibration 20 -o lenet5.addax", compiles=True),
    "evaluate": Case(arguments="evaluate {given}/tiny.addax --data {given}/small.npz"),
    "export": Case(arguments="export {given}/tiny.addax --format qonnx -o qonnx"),
    "export mem": Case(arguments="export {given}/build --format mem -o memories"),
    "generate": Case(arguments="generate {given}/tiny.addax --lanes 4 -o build"),
    "generate engine": Case(arguments="generate --arch engine --pin 8 --pout 8 --memory-bits 64 -o engine"),
    "compile": Case(
        arguments="compile {given}/tiny.addax --engine {given}/engine --testbench bench --flat flat.bin -o tiny.image"
    ),
    "simulate": Case(arguments="simulate {given}/build --data {given}/small.npz --images 2 --waves waves.vcd"),
    "simulate engine": Case(
        arguments="simulate {given}/engine {given}/tiny.image --data {given}/small.npz --images 2 --trace-stages"
    ),
    "report": Case(arguments="report {given}/build --synth -o report"),
    "kernels": Case(arguments="kernels --device ice40-up5k --lanes 4 --kernel adder --synth"),
    "compare": Case(
        arguments="compare tiny --kernels adder --program adder={given}/tiny.addax --device ecp5-85k --lanes 4 "
        "--data {given}/small.npz --images 2 -o compared"
    ),
    "cells": Case(arguments="cells {given}/build --synth"),
    "bitstream": Case(arguments="bitstream {given}/build -o board"),
    "zoo": Case(arguments="zoo --category -o zoo"),
    "claims": Case(arguments="claims -o claims"),
}
"""Verbs that write files or the cache, and one that does not. ``demo`` is several of them; ``cache`` writes nothing."""


def prepare(given):
    """Fill the folder ``given``: a hundred digits, a tiny Program, its BUILD, an engine, its image and a cache."""
    given.mkdir()
    (given / "scratch").mkdir()
    for name, size in (("digits", 16), ("small", 8)):
        splits = {split: data.load("digits", split, shape=(1, size, size)) for split in ("train", "test")}
        pictures = {f"{split}_x": found.x[:100, 0] for split, found in splits.items()}
        np.savez(given / f"{name}.npz", **pictures, **{f"{split}_y": found.y[:100] for split, found in splits.items()})
    b = Builder(np.random.default_rng(0), (1, 8, 8))
    b.convolution("adder", 2, 4, 4, 0, 8)
    b.requantise(unsigned(8))
    b.convolution("adder", 10, 2, 1, 0, 8)
    b.requantise(None, scores=True)
    save_program(given / "tiny.addax", b.program())
    for name in ("generate", "generate engine", "compile", "evaluate"):
        subprocess.run(
            CASES[name].command(given), cwd=given, env=environment(given), stdout=subprocess.DEVNULL, check=True
        )


def environment(place):
    """Where a run in ``place`` keeps its cache and temporary files."""
    return {
        **os.environ, "ADDAX_CACHE": str(place / "cache"), "TMPDIR": str(place / "scratch"),
        "TORCHINDUCTOR_CACHE_DIR": str(place / "torch"),
    }  # fmt: skip


def verb(case, given, place):
    """Run a verb to its end; returns what it says."""
    done = subprocess.run(
        case.command(given), cwd=place / "work", env=environment(place), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{case.arguments} ends with {done.returncode}: {done.stderr.strip()}")
    return None if case.goes_on else as_told(json.loads(done.stdout))
