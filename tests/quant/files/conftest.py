""".addax files: one with every operation, and whatever bytes, loaded."""

import pytest
from addax.quant.files.archive import load_program, program_bytes
from archives import KINDS
from networks import random_graph


@pytest.fixture(scope="session")
def content():
    """A file with every kind of operation."""
    programs = (random_graph(seed) for seed in range(200))
    return program_bytes(next(p for p in programs if {type(op).__name__ for op in p.ops} == KINDS))


@pytest.fixture
def load(tmp_path):
    def call(data):
        (tmp_path / "net.addax").write_bytes(data)
        return load_program(tmp_path / "net.addax")

    return call
