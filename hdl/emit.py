"""From a Program and a Plan to a BUILD folder: Verilog, memory files, manifest, test bench."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from ..common.errors import UserError
from ..common.files import atomic_directory, read_json, sha256_of, write_bytes, write_json, write_text
from ..quant import golden
from ..quant.archive import load_program, program_bytes
from ..quant.program import Program
from .layout import stage_images
from .memory import Image
from .plan import Plan, bind
from .schedule import Schedule, schedule

__all__ = [
    "Build", "export_memories", "generate", "hex_lines", "open_build", "pack_pixels", "sample_vectors",
    "write_memories",
]  # fmt: skip

KIND = "build"
HARNESS_BEATS = 1 << 18
"""Input beats that the harness can hold: simulations of more images run in parts."""


def generate(program: Program, plan: Plan, out: Path, *, vectors: NDArray[np.uint8], prefix: str = "addax") -> "Build":
    """Write the BUILD folder of ``program`` under ``plan``.

    Parameters
    ----------
    vectors : (N, C, H, W) images of the plain test bench; their expected results come from the golden model
    prefix : of every Verilog module

    Raises
    ------
    UserError
        when the Plan does not fit, the prefix is no identifier, or ``out`` cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", prefix):
        raise UserError(f"prefix must be a Verilog identifier, not {prefix!r}")
    builds = bind(program, plan)
    timing = schedule(builds, program)
    with atomic_directory(out, KIND) as folder:
        write_bytes(folder / "program.addax", program_bytes(program))
        write_json(folder / "plan.json", plan.to_json())
        write_text(folder / f"{prefix}.v", _verilog(program, plan, prefix))
        images = memory_images(program, plan)
        write_memories(folder, images)
        facts: dict[str, Any] = {
            "prefix": prefix,
            "beats": program.input.shape[1] * program.input.shape[2],
            "answers": program.classes + 1,
            "data_in": 8 * program.input.shape[0],
            "data_out": -(-program.score_format.bits // 8) * 8,
        }
        capacity = max(1, HARNESS_BEATS // facts["beats"])
        write_text(
            folder / f"{prefix}_harness.v",
            _render("harness.v.j2", capacity=capacity, settle=builds[0].window.longest_pause, **facts),
        )
        expected = expected_beats(program, golden.run(program, vectors).scores)
        write_text(folder / "stimulus.mem", hex_lines(pack_pixels(vectors), facts["data_in"]))
        write_text(folder / "expected.mem", hex_lines(expected, facts["data_out"] + 1))
        write_text(
            folder / f"{prefix}_testbench.v",
            _render("testbench.v.j2", images=len(vectors), watchdog=timing.watchdog(), **facts),
        )
        manifest = {
            **facts,
            "capacity": capacity,
            "top": prefix,
            "packet": {
                "order": "scores, class 0 first, then the class; tlast on the last beat",
                "score": {"bits": program.score_format.bits, "signed": program.score_format.signed},
                "beat_bits": facts["data_out"],
            },
            "pixels": {"order": "row by row, one pixel per beat, channel 0 in the lowest byte", "bits": 8},
            "schedule": timing.to_json(),
            "memories": [memory_entry(image) for image in images],
        }
        write_json(folder / "manifest.json", manifest)
    return open_build(out)


def memory_images(program: Program, plan: Plan) -> tuple[Image, ...]:
    """Contents of all memory files of a build."""
    return tuple(
        image for build in bind(program, plan) for image in stage_images(build, fixed=plan.fixed_weights).all()
    )


def write_memories(folder: Path, images: Iterable[Image]) -> None:
    """One ``$readmemh`` file per memory."""
    for image in images:
        write_text(folder / image.file, image.text())


def sample_vectors(program: Program, count: int = 4, seed: int = 0) -> NDArray[np.uint8]:
    """Images for a test bench that needs no data set: smooth random blobs over the whole range of pixels."""
    rng = np.random.default_rng(seed)
    channels, height, width = program.input.shape
    coarse = rng.integers(0, 256, (count, channels, -(-height // 4), -(-width // 4)), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(4, axis=2).repeat(4, axis=3)[:, :, :height, :width])


def export_memories(build: "Build", out: Path, *, program: Program | None = None) -> None:
    """Write the memory files that the RTL of ``build`` reads, with the weights of ``program`` when one is given.

    Raises
    ------
    UserError
        when ``program`` does not fit the RTL, or ``out`` cannot be written.
    """
    images = build.images_for(program or build.program)
    with atomic_directory(out, "export") as folder:
        write_memories(folder, images)
        write_json(folder / "manifest.json", {"format": "mem", "memories": [memory_entry(image) for image in images]})


def memory_entry(image: Image) -> dict[str, Any]:
    """What the manifest says of a memory file."""
    return {
        "file": image.file, "width": image.width, "depth": image.depth, "sha256": sha256_of(image.text().encode()),
    }  # fmt: skip


def _verilog(program: Program, plan: Plan, prefix: str) -> str:
    # Amaranth's own yosys, so that the text does not depend on what is on PATH.
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
    from amaranth.back import verilog

    from .dataflow import Accelerator, Pipeline

    top = Accelerator(Pipeline(program, plan, prefix=prefix))
    text = verilog.convert(top, name=prefix, emit_src=False, strip_internal_attrs=True)
    return text + "\n" + _render("memory.v.j2", prefix=prefix)


def _render(template: str, **values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  Verilog, not HTML
    )
    return environment.get_template(template).render(**values)


def pack_pixels(images: NDArray[np.uint8]) -> NDArray[np.object_] | NDArray[np.uint64]:
    """(N, C, H, W) to one word per pixel in stream order."""
    count, channels, height, width = images.shape
    flat = images.transpose(0, 2, 3, 1).reshape(count * height * width, channels)
    kind: Any = np.uint64 if channels <= 8 else object
    words = np.zeros(len(flat), kind)
    for c in reversed(range(channels)):
        words = words * 256 + flat[:, c].astype(kind)
    return words


def expected_beats(program: Program, scores: NDArray[np.int64]) -> list[int]:
    """Output beats as ``{last, data}`` words: scores sign-extended to whole bytes, then the class with last."""
    bits = -(-program.score_format.bits // 8) * 8
    mask = (1 << bits) - 1
    beats: list[int] = []
    for row in scores.tolist():
        beats.extend(value & mask for value in row)
        beats.append((1 << bits) | max(range(len(row)), key=lambda k: (row[k], -k)))
    return beats


def hex_lines(words: Iterable[int], bits: int) -> str:
    """Words as a ``$readmemh`` file."""
    digits = -(-bits // 4)
    return "".join(f"{int(word):0{digits}x}\n" for word in words)


@dataclass(frozen=True, kw_only=True, eq=False)
class Build:
    """An opened BUILD folder."""

    path: Path
    program: Program
    plan: Plan
    manifest: dict[str, Any]

    @property
    def prefix(self) -> str:
        """Prefix of its modules, and the name of its top module."""
        return str(self.manifest["prefix"])

    @cached_property
    def schedule(self) -> Schedule:
        """The cycle model of this build."""
        return schedule(bind(self.program, self.plan), self.program)

    def images_for(self, program: Program) -> tuple[Image, ...]:
        """Contents of this build's memories with the weights of ``program``.

        Raises
        ------
        UserError
            when ``program`` needs memories of another shape, other formats, or RTL that was made for fixed weights.
        """
        if program is not self.program:
            self._check_fits(program)
        return memory_images(program, self.plan)

    def _check_fits(self, program: Program) -> None:
        if self.plan.fixed_weights:
            raise UserError("this build is sized for its own weights; generate it without --fixed-weights")
        if program.input.shape != self.program.input.shape or program.score_format != self.program.score_format:
            raise UserError("the program has another input or other scores than the build")
        have = [(image.file, image.depth, image.width) for image in memory_images(program, self.plan)]
        want = [(entry["file"], entry["depth"], entry["width"]) for entry in self.manifest["memories"]]
        if len(have) != len(want):
            raise UserError(f"the program does not fit the build: {len(have)} memories, the RTL has {len(want)}")
        for (name, depth, width), wanted in zip(have, want, strict=True):
            if (name, depth, width) != wanted:
                raise UserError(
                    f"the program does not fit the build: {name} would be {depth} words of {width} bits, "
                    f"the RTL has {wanted[0]} with {wanted[1]} words of {wanted[2]} bits"
                )

    @property
    def sources(self) -> tuple[Path, Path]:
        """The accelerator and its harness."""
        return self.path / f"{self.prefix}.v", self.path / f"{self.prefix}_harness.v"


def open_build(path: Path) -> Build:
    """Read a BUILD folder.

    Raises
    ------
    UserError
        when ``path`` is no BUILD or a broken one.
    """
    marker = path / "addax.json"
    if not marker.is_file() or read_json(marker, "build marker").get("kind") != KIND:
        raise UserError(f"{path} is not a BUILD folder; make one with 'addax generate'")
    build = Build(
        path=path.absolute(),
        program=load_program(path / "program.addax"),
        plan=Plan.from_json(read_json(path / "plan.json", "plan")),
        manifest=read_json(path / "manifest.json", "manifest"),
    )
    for source in build.sources:
        if not source.is_file():
            raise UserError(f"{path} is a broken BUILD folder: {source.name} is missing")
    return build
