# amaranth: UnusedElaboratable=no
"""BUILD folders of random networks, each made once."""

import shutil
from functools import cache
from pathlib import Path

import pytest
from addax.hdl.folder.generate import generate
from addax.hdl.folder.vectors import sample_vectors
from networks import random_plan, random_program


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The build of a random network; made once for each seed, prefix and kind. Not to be changed."""

    @cache
    def make(seed, prefix="addax", fixed_weights=False):
        program = random_program(seed)
        plan = random_plan(program, seed, fixed_weights=fixed_weights)
        out = tmp_path_factory.mktemp("build") / "out"
        return generate(program, plan, out, vectors=sample_vectors(program, 3, seed), prefix=prefix)

    return make


@pytest.fixture
def breakable(built, tmp_path):
    """A copy of a build that may be broken."""
    return Path(shutil.copytree(built(7).path, tmp_path / "broken"))
