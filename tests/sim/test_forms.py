"""A network in ordinary PyTorch through its RTL: what lowering makes of all its forms is built as it is counted."""

from functools import partial

import every_form
import forms
import numpy as np
import pytest
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.folder.generate import generate
from addax.hdl.folder.vectors import sample_vectors
from addax.quant.lower.lowering import lower
from addax.sim.cosim import simulate
from marks import GUARD
from torchnets import pictures

pytestmark = [*GUARD]


@pytest.mark.parametrize(
    ("make", "shape", "stall"),
    [
        (forms.many_forms, forms.SHAPE, 0.0),
        (forms.many_forms, forms.SHAPE, 0.3),
        (partial(every_form.every_form, without=every_form.NO_STAGE), every_form.SHAPE, 0.3),
    ],
)
def test_forms_are_bit_exact(tmp_path_factory, make, shape, stall):
    """No score differs, no cycle is lost: of a network of our forms, and of one of all filed ones that are built."""
    program = lower(make(), pictures(40, shape))
    plan = fold(program, device="ecp5-85k", clock_mhz=50.0, lanes=300)
    build = generate(program, plan, tmp_path_factory.mktemp("forms"), vectors=sample_vectors(program, 1))

    outcome = simulate(build, pictures(20, shape, seed=1), stall=stall)

    assert (outcome.images, outcome.mismatches, outcome.class_mismatches) == (20, 0, 0)
    assert len(np.unique(outcome.classes)) > 1
