"""Files that others published. They lie beside the repository, in ``shared/data``."""

from pathlib import Path

import pytest

__all__ = ["shared"]

_DATA = Path(__file__).parents[3].parent / "shared" / "data"


def shared(name):
    """The path of ``name`` there; a test that needs it is skipped where it is not."""
    path = _DATA / name
    if not path.exists():
        pytest.skip(f"published data are not here: no {path}")
    return path
