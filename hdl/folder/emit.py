"""From a Program and a Plan to a BUILD folder: Verilog, memory files, manifest, test bench."""

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError
from ...common.files import atomic_directory, kind_of, sha256_of, write_bytes, write_json, write_text
from ...common.reading import read_json, read_regular
from ...common.templates import render
from ...quant import golden
from ...quant.files.archive import load_program, program_bytes
from ...quant.program import Convolution, Op, Program, SpatialShift
from ..activation.entry import entry_of
from ..board.boards import board_names
from ..dataflow.build import StageBuild, bind
from ..dataflow.control_map import control_map
from ..dataflow.layout import StageImages, stage_images, stage_tensors
from ..dataflow.plan import Plan
from ..dataflow.schedule import Schedule, answer_beats, schedule
from ..dataflow.stages import Stage
from ..memory.image import ROMS, Image
from ..streams.packet import beat_bits, packet_layout
from ..verilog import to_verilog, without_lint
from .header import tied_pins, write_software_view
from .keywords import is_identifier
from .manifest import read_manifest

__all__ = [
    "Build", "export_memories", "generate", "hex_lines", "open_build", "pack_pixels", "read_memories",
    "sample_vectors", "stage_verilog", "write_memories",
]  # fmt: skip

KIND = "build"
HARNESS_BEATS = 1 << 20
"""Input beats that the harness can hold: simulations of more images run in parts, each of which fills the pipeline."""
_CELL = re.compile(r"^  (LUT\d(?:_2)?|CARRY[48]|CCU2C) ", re.MULTILINE)
LEAST_IMAGES = 8
"""Images that the harness can hold, however large they are: enough to see a steady interval."""


def generate(
    program: Program, plan: Plan, out: str | Path, *, vectors: NDArray[np.uint8], prefix: str = "addax"
) -> "Build":
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
    if not is_identifier(prefix):
        raise UserError(f"prefix must be a Verilog identifier that is no reserved word, not {prefix!r}")
    out = Path(out)
    builds = bind(program, plan)
    timing = schedule(builds, program, pixels=plan.pixels)
    with atomic_directory(out, KIND, results=_results()) as folder:
        write_bytes(folder / "program.addax", program_bytes(program))
        write_json(folder / "plan.json", plan.to_json())
        text = _verilog(program, plan, prefix)
        write_text(folder / f"{prefix}.v", text)
        cells = _cells_in(text)
        if cells:
            models = _render("cells.v.j2", family=plan.fabric, cells=cells)
            write_text(folder / f"{prefix}_cells.v", without_lint(models))
        write_text(folder / f"{prefix}.vlt", _render("waiver.vlt.j2", prefix=prefix))
        images = memory_images(program, plan, prefix)
        write_memories(folder, images)
        registers = None if plan.control == "none" else control_map(program, builds, plan, images)
        if registers is not None:
            write_software_view(folder, registers, plan.control, prefix)
        facts: dict[str, Any] = {
            "prefix": prefix,
            "beats": program.input.shape[1] * program.input.shape[2] // plan.pixels,
            "answers": answer_beats(program, plan.outputs),
            "data_in": 8 * program.input.shape[0] * plan.pixels,
            "data_out": beat_bits(program, plan.outputs),
        }
        most = facts["beats"] if program.classifies else max(facts["beats"], facts["answers"])
        capacity = max(LEAST_IMAGES, len(vectors), HARNESS_BEATS // most)
        write_text(
            folder / f"{prefix}_harness.v",
            _render(
                "harness.v.j2",
                capacity=capacity,
                settle=max(build.window.longest_pause for build in builds),
                tied=tied_pins(plan.control, registers),
                path=path_macro(prefix),
                **facts,
            ),
        )
        expected = expected_beats(program, golden.run(program, vectors).output, plan.outputs)
        write_text(folder / "stimulus.mem", hex_lines(pack_pixels(vectors, plan.pixels), facts["data_in"]))
        write_text(folder / "expected.mem", hex_lines(expected, facts["data_out"] + 1))
        write_text(
            folder / f"{prefix}_testbench.v",
            _render(
                "testbench.v.j2",
                images=len(vectors),
                watchdog=timing.watchdog(),
                path=path_macro(prefix),
                cells=[f"{prefix}_cells.v"] if cells else [],
                **facts,
            ),
        )
        manifest = {
            **facts,
            "capacity": capacity,
            "top": prefix,
            "packet": packet_layout(program, plan.outputs),
            "pixels": {
                "order": "row by row, the first of a beat lowest, channel 0 in the lowest byte",
                "bits": 8,
                "per_beat": plan.pixels,
            },
            "schedule": timing.to_json(),
            "memories": [memory_entry(image) for image in images],
        }
        manifest["files"] = {
            file.name: sha256_of(file.read_bytes()) for file in sorted(folder.iterdir()) if file.name != "manifest.json"
        }
        write_json(folder / "manifest.json", manifest)
    return open_build(out)


def _results() -> dict[str, str]:
    """Folders in a BUILD where `report` and `bitstream` put what they find, by default: results of that build alone."""
    return {"report": "report", **dict.fromkeys(board_names(), "bitstream")}


def memory_images(program: Program, plan: Plan, prefix: str = "addax") -> tuple[Image, ...]:
    """Contents of all memory files of a build."""
    return tuple(
        image
        for build in bind(program, plan)
        for image in stage_images(build, fixed=plan.fixed_weights, prefix=prefix).all()
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


def export_memories(build: "Build", out: str | Path, *, program: Program | None = None) -> None:
    """Write the memory files that the RTL of ``build`` reads, with the weights of ``program`` when one is given.

    Raises
    ------
    UserError
        when ``program`` does not fit the RTL, or ``out`` cannot be written.
    """
    images = build.images_for(program or build.program)
    with atomic_directory(Path(out), "export") as folder:
        write_memories(folder, images)
        write_json(folder / "manifest.json", {"format": "mem", "memories": [memory_entry(image) for image in images]})


def read_memories(build: "Build", folder: str | Path | None = None) -> Program:
    """The Program whose integers stand in memory files of ``build``: its own, or those of an export in ``folder``.

    Raises
    ------
    UserError
        when a file is missing, differs from the manifest, or is not of the memory that the RTL has.
    """
    folder = build.path if folder is None else Path(folder)
    manifest = read_json(folder / "manifest.json", "manifest")
    try:
        checksums = {entry["file"]: entry["sha256"] for entry in manifest["memories"]}
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder} holds no memory files of a build: its manifest says nothing of them") from error

    def read(image: Image | None) -> Image | None:
        if image is None:
            return None
        path = folder / image.file
        try:
            data = read_regular(path)
            if checksums.get(image.file) != sha256_of(data):
                raise UserError(f"{path} differs from the manifest beside it")
            return image.holding(data.decode())
        except OSError as error:
            raise UserError(f"cannot read memory file {path}: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"{path} does not fit the build: {error}") from error

    changed: dict[str, Op] = {}
    for stage in bind(build.program, build.plan):
        images = stage_images(stage, fixed=build.plan.fixed_weights, prefix=build.prefix)
        found: dict[str, Any] = {name: read(getattr(images, name)) for name in StageImages.MEMORIES}
        held = replace(images, **found)
        tensors, op = stage_tensors(stage, held), build.program.by_name[stage.stage.name]
        if isinstance(op, Convolution) and tensors.weight is not None:
            pad = op.pad if tensors.pad is None else tensors.pad
            changed[op.name] = replace(op, weight=stage.stage.filters(tensors.weight), pad=pad)
        elif isinstance(op, SpatialShift) and tensors.pad is not None:
            changed[op.name] = replace(op, pad=tensors.pad)
        for activation in (stage.stage.requantise, stage.stage.threshold):
            if activation is not None:
                changed[activation.name] = replace(activation, **tensors.activation)
    try:
        return replace(build.program, ops=tuple(changed.get(op.name, op) for op in build.program.ops))
    except ValueError as error:
        raise UserError(f"the memory files in {folder} do not make a program: {error}") from error


def memory_entry(image: Image) -> dict[str, Any]:
    """What the manifest says of a memory file."""
    return {
        "file": image.file, "width": image.width, "depth": image.depth, "sha256": sha256_of(image.text().encode()),
    }  # fmt: skip


def _verilog(program: Program, plan: Plan, prefix: str) -> str:
    from ..dataflow.pipeline import Accelerator, Pipeline

    pipeline = Pipeline(program, plan, prefix=prefix)
    text = to_verilog(Accelerator(pipeline), prefix)
    kinds = {"auto", *(stage.memory for stage in plan.stages)}
    writable = pipeline.service is not None and bool(pipeline.service.map.memories)
    return without_lint(text + _memories(prefix, kinds, writable=writable))


def stage_verilog(build: StageBuild, images: StageImages, *, prefix: str) -> str:
    """One stage by itself, as a top module called ``prefix``, with the modules of its memories."""
    from ..dataflow.pipeline import StageComponent

    text = to_verilog(StageComponent(build, images, prefix=prefix), prefix)
    return without_lint(text + _memories(prefix, {"auto", build.plan.memory}, writable=False))


def _memories(prefix: str, kinds: Container[str], *, writable: bool) -> str:
    """The modules that read memory files, after an empty line."""
    roms = [rom for kind, rom in ROMS.items() if kind in kinds]
    return "\n" + _render("memory.v.j2", prefix=prefix, path=path_macro(prefix), writable=writable, roms=roms)


def _cells_in(text: str) -> list[str]:
    """Names of the cells of a device that ``text`` instantiates."""
    return sorted(set(_CELL.findall(text)))


def path_macro(prefix: str) -> str:
    """Name of the Verilog macro that says where a memory file of a build is; without it, where the simulator runs."""
    return f"{prefix.upper()}_PATH"


def _render(template: str, **values: Any) -> str:
    return render(Path(__file__).with_name(template), **values)


def pack_pixels(images: NDArray[np.uint8], per_beat: int = 1) -> NDArray[np.object_] | NDArray[np.uint64]:
    """(N, C, H, W) to one word per beat of ``per_beat`` pixels in stream order."""
    flat = images.transpose(0, 2, 3, 1).reshape(-1, images.shape[1] * per_beat)
    kind: Any = np.uint64 if flat.shape[1] <= 8 else object
    words = np.zeros(len(flat), kind)
    for byte in reversed(flat.T):
        words = words * 256 + byte.astype(kind)
    return words


def expected_beats(program: Program, output: NDArray[np.int64], outputs: int = 1) -> list[int]:
    """Output beats as ``{last, data}`` words for the results of images: scores sign-extended to whole bytes, then the
    class with last; or ``outputs`` elements of a raw result per beat, with last on the last one."""
    bits = beat_bits(program, outputs)
    if not program.classifies:
        each = bits // outputs
        rows = output.transpose(0, 2, 3, 1).reshape(len(output), -1, outputs) & ((1 << each) - 1)
        last = len(rows[0]) - 1
        return [
            sum(value << (k * each) for k, value in enumerate(beat)) | (number == last) << bits
            for row in rows.tolist() for number, beat in enumerate(row)
        ]  # fmt: skip
    mask = (1 << bits) - 1
    beats: list[int] = []
    for row in output.reshape(len(output), -1).tolist():
        beats.extend(value & mask for value in row)
        beats.append((1 << bits) | max(range(len(row)), key=lambda k: (row[k], -k)))
    return beats


def hex_lines(words: Iterable[int], bits: int) -> str:
    """Words as a ``$readmemh`` file."""
    digits = -(-bits // 4)
    return "".join(f"{int(word):0{digits}x}\n" for word in words)


def _ends(program: Program) -> tuple[Any, ...]:
    return program.input.shape, program.classifies, program.shape(program.output), program.format(program.output)


def _same_entry(one: Op | None, other: Op | None) -> bool:
    if one is None or other is None:
        return one is other
    return type(one) is type(other) and all(
        np.array_equal(getattr(one, item.name), getattr(other, item.name)) for item in fields(one)
    )


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
        return schedule(bind(self.program, self.plan), self.program, pixels=self.plan.pixels)

    def images_for(self, program: Program) -> tuple[Image, ...]:
        """Contents of this build's memories with the weights of ``program``.

        Raises
        ------
        UserError
            when ``program`` needs memories of another shape, other formats, or RTL that was made for fixed weights.
        """
        if program is not self.program:
            self._check_fits(program)
        return memory_images(program, self.plan, self.prefix)

    def _check_fits(self, program: Program) -> None:
        if self.plan.fixed_weights:
            raise UserError("this build is sized for its own weights; generate it without --fixed-weights")
        if _ends(program) != _ends(self.program):
            raise UserError("the program does not fit the build: it has another input or other scores than the build")
        if not _same_entry(entry_of(program), entry_of(self.program)):
            raise UserError("the program does not fit the build: its input operation, a part of the RTL, is another")
        ours, theirs = ([build.stage for build in bind(p, self.plan)] for p in (self.program, program))
        for have, want in zip(theirs, ours, strict=True):
            for aspect in Stage.SHAPE:
                if getattr(have, aspect) != getattr(want, aspect):
                    hint = "; quantise it with --shifts shared" if aspect in ("channelwise", "shift_format") else ""
                    raise UserError(
                        f"the program does not fit the build: {aspect} of {want.name} is {getattr(have, aspect)}, "
                        f"the RTL is made for {getattr(want, aspect)}{hint}"
                    )

    def check_files(self) -> None:
        """Refuse a folder whose files are not those that were generated, by the manifest's checksums."""
        for source in self.sources:
            if source.name not in self.manifest["files"]:
                raise UserError(f"{self.path} is a broken BUILD folder: {source.name} is missing from its manifest")
        for name, checksum in self.manifest["files"].items():
            try:
                data = read_regular(self.path / name)
            except FileNotFoundError as error:
                raise UserError(f"{self.path} is a broken BUILD folder: {name} is missing") from error
            except OSError as error:
                raise UserError(f"{self.path} is a broken BUILD folder: {name}: {error.strerror}") from error
            if sha256_of(data) != checksum:
                raise UserError(f"{self.path} is a broken BUILD folder: {name} was changed after 'addax generate'")

    @property
    def sources(self) -> tuple[Path, Path]:
        """The accelerator and its harness."""
        return self.path / f"{self.prefix}.v", self.path / f"{self.prefix}_harness.v"


def open_build(path: str | Path) -> Build:
    """Read a BUILD folder. Its Verilog is code: whoever simulates it runs what its author wrote.

    Raises
    ------
    UserError
        when ``path`` is no BUILD or a broken one.
    """
    path = Path(path)
    if kind_of(path) != KIND:
        raise UserError(f"{path} is not a BUILD folder; make one with 'addax generate'")
    build = Build(
        path=path.absolute(),
        manifest=read_manifest(path),
        program=load_program(path / "program.addax"),
        plan=Plan.read(path / "plan.json"),
    )
    build.check_files()
    return build
