"""safetensors files with a JSON header of ours. Nothing is ever unpickled."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from .errors import UserError

__all__ = ["HEADER", "read_tensors"]

HEADER = "addax"
"""Key of the metadata under which our header stands."""


def read_tensors(path: Path, framework: str, what: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and header of a file; ``framework`` is ``pt`` or ``numpy``.

    Raises
    ------
    UserError
        when the file is missing, truncated, or not one of ours; ``what`` (with its article) names the kind expected.
    """
    if not path.is_file():
        raise UserError(f"no file at {path}; expected {what}")
    try:
        with safe_open(path, framework=framework) as archive:
            metadata = archive.metadata() or {}
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not {what}: {error}") from error
    try:
        header = json.loads(metadata[HEADER])
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is a safetensors file, but not {what}") from error
    if not isinstance(header, dict):
        raise UserError(f"{path} is a safetensors file, but not {what}")
    return tensors, header
