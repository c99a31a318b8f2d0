"""One network with each kernel, as whole accelerators like for like: the same folds, images and tools. Or engines."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...common.files import write_json, write_text
from ...hdl.family import PlanRequest
from ...hdl.folder.build import Build
from ...hdl.folder.families import family_of
from ...hdl.folder.generate import generate
from ...hdl.folder.vectors import sample_vectors
from ...hdl.lanes.structures import default_structure
from ...models import data
from ...models.layers.kernels import KERNELS
from ...quant.files.archive import load_program
from ...quant.program import Program
from ...quant.quantize import evaluate, quantize
from ...sim.cosim import simulate
from ..devices.devices import Device
from ..devices.multipliers import halves_above
from ..kernels.published import published
from ..page.pages import comparison_page
from ..page.report import make_report
from ..power.asic45 import lanes_energy
from ..power.model import power_model
from ..power.power import Power, saving
from ..power.scopes import CountedDesign, differing_layers, scopes
from ..synth.place import placer
from ..tools.provenance import provenance
from .claims import claims_beside
from .engine import PINS, EngineTerms, engine_row

__all__ = ["BASELINE", "MULTIPLIERS", "Contest", "KernelComparison", "compare", "structures_of"]

BASELINE = "mult"
"""The kernel that the others are set against."""
MULTIPLIERS = ("lut", "dsp")
"""Where the products of lanes are made: in lookup tables, so that logic is compared with logic, or wherever synthesis
likes, which is DSP blocks."""
ARCHS = ("dataflow", "engine")
"""The families whose designs are compared."""
POWER_IMAGES = 4


@dataclass(frozen=True, kw_only=True)
class KernelComparison:
    """What `compare` found.

    Attributes
    ----------
    rows : per kernel: accuracy, rate, the keys of its report, and where there is a `BASELINE` among the kernels,
        ``saving`` (see `power.Saving`; None without power) and, of dataflow designs, ``scopes`` (see `scopes`)
    claims : of others, beside ours, see `claims.claims_beside`
    designs : of others
    json, html : all of it as files
    """

    rows: list[dict[str, Any]]
    claims: list[dict[str, Any]]
    designs: list[dict[str, Any]]
    json: Path
    html: Path


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What is compared, and under which terms.

    Attributes
    ----------
    network, bits, data_source : as `quant.quantize.quantize` takes them
    programs : files of Programs by kernel, for kernels that are not to be quantised
    split : of the data, that is simulated and evaluated
    device, clock_mhz, lanes, fps : as `hdl.family.PlanRequest` takes them; the first kernel's folds are everyone's
    multipliers : one of `MULTIPLIERS`
    images : that are simulated; 0 for none, where only what designs take is asked: a large one takes its simulator long
        to build
    placed, power : whether to place and route, and to model power
    seeds : of place and route; the median counts
    archs : of `ARCHS`: a dataflow design and an engine for each kernel, or one of them
    pin, pout : lanes of a row of an engine, and rows; as many rows as lanes where nothing is said of them
    """

    network: str
    device: Device
    programs: Mapping[str, Path] = field(default_factory=dict)
    bits: int = 8
    data_source: str = "digits"
    split: str = "test"
    clock_mhz: float = 50.0
    lanes: int | None = None
    fps: float | None = None
    multipliers: str = "lut"
    images: int = 20
    placed: bool = False
    seeds: int = 1
    power: bool = False
    archs: tuple[str, ...] = ("dataflow",)
    pin: int = 16
    pout: int | None = None

    def __post_init__(self) -> None:
        if not self.archs or len(set(self.archs)) != len(self.archs) or not set(self.archs) <= set(ARCHS):
            raise ValueError(f"arch must be some of {', '.join(ARCHS)}, not {','.join(self.archs)!r}")
        for name, side in (("pin", self.pin), ("pout", self.rows)):
            if side not in PINS:
                raise ValueError(f"{name} of an engine must be {' or '.join(map(str, PINS))}, not {side}")
        if self.archs == ("engine",) and (self.lanes is not None or self.fps is not None):
            raise ValueError("the size of engines is said with --pin and --pout; leave --lanes and --fps out")
        if self.multipliers not in MULTIPLIERS:
            raise ValueError(f"multipliers must be one of {', '.join(MULTIPLIERS)}, not {self.multipliers!r}")
        if self.images < 0:
            raise ValueError(f"images must be a positive integer, or 0 for none, not {self.images}")
        if self.power and not self.images:
            raise ValueError("power needs images that are simulated")
        if self.seeds < 1:
            raise ValueError(f"seeds must be a positive integer, not {self.seeds}")
        if self.placed:
            placer(self.device)
        if self.power:
            power_model(self.device)

    @property
    def rows(self) -> int:
        """Rows of lanes of an engine."""
        return self.pin if self.pout is None else self.pout

    @property
    def power_images(self) -> int:
        """How many images give the switching activity; 0 without power."""
        return min(self.images, POWER_IMAGES) if self.power else 0


def structures_of(multipliers: str, device: Device) -> dict[str, str]:
    """Structures of lanes, by kernel, for one of `MULTIPLIERS`."""
    return {"mult": default_structure("mult", device.family)} if multipliers == "lut" else {}


def compare(
    contest: Contest, kernels: Sequence[str], out: str | Path, *, command: str = "",
    step: Callable[[str], None] = lambda text: None,
) -> KernelComparison:  # fmt: skip
    """Build, simulate and measure the network with each of ``kernels``. BUILDs and reports are left under ``out``.

    Raises
    ------
    UserError
        for a kernel that the network does not come with, and when RTL and golden model differ.
    """
    if unknown := [kernel for kernel in kernels if kernel not in KERNELS]:
        raise UserError(f"unknown kernel {unknown[0]!r}; known: {', '.join(KERNELS)}")
    out, programs = Path(out), {}
    for kernel in kernels:
        if kernel in contest.programs:
            programs[kernel] = load_program(contest.programs[kernel])
            continue
        step(f"{kernel}: quantising")
        programs[kernel] = quantize(
            contest.network, kernel=kernel, weights=None, bits=contest.bits, data_source=contest.data_source
        )
    found_rows: list[dict[str, Any]] = []
    if "dataflow" in contest.archs:
        found_rows += _dataflow_rows(programs, contest, out, step)
    claims = claims_beside(found_rows)
    if "engine" in contest.archs:
        found_rows += _engine_rows(programs, contest, out, step)
    return _written(contest, found_rows, claims, out, command)


def _dataflow_rows(
    programs: dict[str, Program], contest: Contest, out: Path, step: Callable[[str], None]
) -> list[dict[str, Any]]:
    """A row for each kernel, all with the folds of the first."""
    first = next(iter(programs.values()))
    family, structures = family_of("dataflow"), structures_of(contest.multipliers, contest.device)
    model = family.plan(first, PlanRequest(
        device=contest.device.name, clock_mhz=contest.clock_mhz, lanes=contest.lanes, fps=contest.fps,
        fabric=contest.device.fabric, structures=structures, halves_above=halves_above(contest.device.family),
    ))  # fmt: skip
    rows: dict[str, dict[str, Any]] = {}
    designs: dict[str, CountedDesign] = {}
    for kernel, program in programs.items():
        step(f"{kernel}: generating")
        plan = family.alike(program, model, first, structures=structures)
        build = generate(program, plan, out / kernel / "build", vectors=sample_vectors(program))
        rows[kernel], designs[kernel] = _row(kernel, build, contest, out / kernel / "report", step)
    if BASELINE in rows:
        layers = differing_layers(list(designs.values()))
        for kernel, design in designs.items():
            rows[kernel] |= _against(design, designs[BASELINE], layers)
    return list(rows.values())


def _engine_rows(
    programs: dict[str, Program], contest: Contest, out: Path, step: Callable[[str], None]
) -> list[dict[str, Any]]:
    """A row for each kernel; beside dataflow designs its name says what it is."""
    terms = EngineTerms(
        device=contest.device, clock_mhz=contest.clock_mhz, pin=contest.pin, pout=contest.rows, bits=contest.bits,
        data_source=contest.data_source, split=contest.split, placed=contest.placed, seeds=contest.seeds,
        power_images=contest.power_images,
    )  # fmt: skip
    rows: dict[str, dict[str, Any]] = {}
    powers: dict[str, Power | None] = {}
    for kernel, program in programs.items():
        name = f"{kernel}, engine" if "dataflow" in contest.archs else kernel
        own, powers[kernel] = engine_row(
            program, terms, out / kernel / "engine", lambda text, name=name: step(f"{name}: {text}")  # type: ignore[misc]
        )  # fmt: skip
        rows[kernel] = {"kernel": name, **own}
    if BASELINE in rows:
        for kernel in rows:
            rows[kernel]["saving"] = _saved(powers[kernel], powers[BASELINE])
    return list(rows.values())


def _written(
    contest: Contest, rows: list[dict[str, Any]], claims: list[dict[str, Any]], out: Path, command: str
) -> KernelComparison:
    """The comparison as files."""
    found = KernelComparison(
        rows=rows, claims=claims, designs=published()["design"], json=out / "compare.json", html=out / "compare.html"
    )
    terms = vars(contest) | {
        "device": contest.device.name,
        "programs": {kernel: str(path) for kernel, path in contest.programs.items()},
    }
    origin = provenance(command, seeds=range(1, contest.seeds + 1) if contest.placed else ())
    write_json(found.json, {
        "terms": terms, "rows": found.rows, "claims": found.claims, "published": found.designs, "provenance": origin,
    })  # fmt: skip
    write_text(found.html, comparison_page(
        found.rows, title=f"{contest.network} on {contest.device.name}", published=found.designs, claims=found.claims,
        baseline=BASELINE, provenance=origin,
    ))  # fmt: skip
    return found


def _row(
    kernel: str, build: Build, contest: Contest, out: Path, step: Callable[[str], None]
) -> tuple[dict[str, Any], CountedDesign]:
    """Simulated, measured and evaluated."""
    images = data.load(contest.data_source, contest.split, shape=build.program.input.shape)
    outcome = None
    if contest.images:
        step(f"{kernel}: simulating")
        outcome = simulate(build, images.head(contest.images).x)
    if outcome and not (outcome.bit_exact and outcome.cycles_per_image in (None, build.schedule.interval)):
        raise UserError(f"{kernel}: RTL and golden model differ; run 'addax simulate {shlex.quote(str(build.path))}'")
    made = make_report(
        build, out, synth=True, placed=contest.placed, seeds=contest.seeds, command="addax compare",
        step=lambda text: step(f"{kernel}: {text}"),
        power_images=images.head(contest.power_images).x if contest.power_images else None,
    )  # fmt: skip
    assert made.synthesis is not None
    layers = build.design.layers
    row = {
        "kernel": kernel,
        "arch": "dataflow",
        "accuracy": evaluate(build.program, images).accuracy,
        "simulated_images": outcome.images if outcome else 0,
        "mismatches": outcome.mismatches if outcome else None,
        **made.keys,
        "seeds_mhz": list(made.placement.seeds_mhz) if made.placement else None,
        "power": made.power.to_json() if made.power else None,
        "asic45_uj": lanes_energy(layers),
    }
    kinds = {layer.name: layer.kind for layer in layers}
    return row, CountedDesign(kinds=kinds, blocks=made.synthesis.blocks, power=made.power)


def _against(design: CountedDesign, base: CountedDesign, layers: frozenset[str]) -> dict[str, Any]:
    """What a design has against the baseline."""
    return {"scopes": scopes(design, base, layers), "saving": _saved(design.power, base.power)}


def _saved(power: Power | None, against: Power | None) -> dict[str, Any] | None:
    """What is saved, as `KernelComparison` has it; None of the baseline itself, and without power."""
    if power is None or against is None or power is against:
        return None
    found = saving(power, against)
    return {**vars(found), "keeps_sign": found.keeps_sign}
