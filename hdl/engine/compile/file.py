"""Image files: the memory of an engine with the Program and the Plan that it was made of."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from ....common.errors import UserError
from ....common.files import sha256_of, write_bytes
from ....common.tensors import HEADER, read_tensors
from ....quant.files.archive import describe, rebuild
from ..control import VERSION, engine_identity
from ..plan import EnginePlan
from .image import Compiled, compiled

__all__ = ["load_image", "save_image"]

_KIND = "engine image"
_MEMORY = "memory"
_WHAT = "an image for an engine; 'addax compile' makes one"


def save_image(path: str | Path, image: Compiled) -> None:
    """Write ``image``, whole or not at all: a safetensors file with the memory as bytes, the Program as in an
    ``.addax`` file, and a manifest: the Plan, where the tensors stand, checksums."""
    tensors, program = describe(image.network.program)
    areas = {
        name: {"word": at, "shape": list(image.layouts[name].shape), "bits": image.layouts[name].format.bits,
               "signed": image.layouts[name].format.signed}
        for name, at in image.areas.items()
    }  # fmt: skip
    header = {
        "kind": _KIND, "version": VERSION, "plan": image.plan.to_json(), "build": f"{engine_identity(image.plan):016x}",
        "first": image.first, "reuse": image.reuse, "areas": areas, "memory_sha256": sha256_of(image.words.tobytes()),
        "program": program,
    }  # fmt: skip
    held = {**{name: np.ascontiguousarray(value) for name, value in tensors.items()}, _MEMORY: image.words}
    write_bytes(Path(path), save(held, {HEADER: json.dumps(header)}))


def load_image(path: str | Path, plan: EnginePlan | None = None) -> Compiled:
    """Read an image file. It is compiled anew and compared, so an image that is read is one that this addax makes.

    Parameters
    ----------
    plan : of the engine that it must be for; None for any

    Raises
    ------
    UserError
        when the file is missing, truncated, foreign, of another version, for another engine, or holds another memory.
    """
    path = Path(path)
    tensors, header = read_tensors(path, "numpy", _WHAT)
    if header.get("kind") != _KIND or _MEMORY not in tensors:
        raise UserError(f"{path} is not {_WHAT}")
    if header.get("version") != VERSION:
        raise UserError(f"{path} has format version {header.get('version')}, this addax reads {VERSION}")
    own = EnginePlan.from_json(header.get("plan"))
    if header.get("build") != f"{engine_identity(own):016x}":
        raise UserError(f"{path} is a broken image: its build is not that of its plan")
    if plan is not None and own != plan:
        raise UserError(f"{path} is for another engine, {_difference(own, plan)}; compile it with --engine BUILD")
    memory = tensors.pop(_MEMORY)
    if header.get("memory_sha256") != sha256_of(memory.tobytes()):
        raise UserError(f"{path} is a broken image: its memory is not what its manifest says")
    try:
        program = rebuild(tensors, header["program"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is a broken image: {error}") from error
    image = compiled(program, own, reuse=header.get("reuse") is True)
    if not np.array_equal(image.words, memory):
        raise UserError(f"{path} was made by another addax; make it again with 'addax compile'")
    return image


def _difference(own: EnginePlan, plan: EnginePlan) -> str:
    """The first field in which two Plans differ, with both values."""
    # JSON leaves out what a Plan does not use.
    mine, theirs = ({**asdict(each), **each.to_json()} for each in (own, plan))
    name, value = next((name, value) for name, value in mine.items() if value != theirs[name])
    return f"of {name} {value}, not {theirs[name]}"
