"""ONNX files as Programs: those that we wrote, integer by integer; those of Brevitas, see `brevitas_import`."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from ...common.errors import UserError
from ...common.reading import parse_json
from ..files.archive import program_digest, rebuild
from ..program import Program
from .build import MODEL_HEADER
from .functions import DOMAIN
from .graph import load_model
from .read_own import OwnReader, integers

__all__ = ["import_onnx"]

Ints = NDArray[np.int64]


def import_onnx(path: str | Path, *, input_scale: float | None = None, input_offset: float | None = None) -> Program:
    """The Program in an ONNX file: that which `onnx_export` wrote, or one made of a network that others quantised.

    Parameters
    ----------
    input_scale, input_offset : a foreign network reads ``input_scale * pixel + input_offset``; None: what its file
        says, else 1/255 and 0

    Raises
    ------
    UserError
        for a file that is missing, broken, changed since it was exported, or that holds what no Program can.
    """
    path = Path(path)
    model = load_model(path)
    header = next((p.value for p in model.metadata_props if p.key == MODEL_HEADER), None)
    if header is None and not any(node.domain == DOMAIN for node in model.graph.node):
        from .foreign.brevitas import import_float

        return import_float(model, path, input_scale=input_scale, input_offset=input_offset)
    if input_scale is not None or input_offset is not None:
        raise UserError(f"{path} was written by addax and reads pixels as they are; leave its scale and offset out")
    facts = _header(header, path)
    try:
        if "graph" in facts:
            program = rebuild(_tensors_of(model, facts["graph"]), facts)
        else:
            program = Program(
                ops=OwnReader(model, path).operations(),
                steps=facts.get("steps", {}),
                metadata=facts.get("metadata", {}),
            )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} does not hold a program: {error}") from error
    if "digest" in facts and facts["digest"] != program_digest(program):
        raise UserError(f"{path} was changed after 'addax export': its integers are not those of its checksum")
    return program


def _header(text: str | None, path: Path) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        facts = parse_json(text)
    except ValueError as error:
        raise UserError(f"{path} has broken metadata of addax: {error}") from error
    if not isinstance(facts, dict):
        raise UserError(f"{path} has broken metadata of addax: {text[:40]!r}")
    return facts


def _tensors_of(model: ModelProto, graph: list[dict[str, Any]]) -> dict[str, Ints]:
    """The tensors of the operations in ``graph`` among the initialisers; a padding of zeros is none."""
    named = {f"{entry['name']}." for entry in graph}
    found = {
        tensor.name: integers(numpy_helper.to_array(tensor), tensor.name)
        for tensor in model.graph.initializer
        if tensor.name[: tensor.name.find(".") + 1] in named
    }
    for entry in graph:
        if entry["op"] == "Convolution" and f"{entry['name']}.pad" not in found:
            channels = found[f"{entry['name']}.weight"].shape[1] * entry["groups"]
            found[f"{entry['name']}.pad"] = np.zeros(channels, np.int64)
    return found
