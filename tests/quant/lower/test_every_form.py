"""One network of every filed form that lowering accepts: none is missing, and all together are what torch computes."""

import numpy as np
import pytest
import torch
from addax.models.training.loop import to_float
from addax.quant import golden
from addax.quant.fold.assembly import NOTES
from addax.quant.fold.scheme import Scheme
from addax.quant.lower.graph.export import trace
from addax.quant.lower.graph.nodes import kind_of
from addax.quant.lower.lowering import lower
from every_form import CHAIN, ENDS, LAST, SHAPE, every_form
from filed import REFUSED, filed_forms
from torchnets import pictures

BOUND = {8: 0.05, 16: 4e-3}
"""Largest difference of a score, as a share of the largest score; tables read 12 bits at most."""


def said(net, shape):
    """Operations of ATen and layers of ours that ``net`` says."""
    traced = trace(net, shape)
    return {kind_of(traced, node) for node in traced.graph.nodes} - {None}


def test_every_accepted_form_has_its_place():
    """Whoever files a form that is accepted has to put it into the network."""
    nets, _ = filed_forms()

    assert sorted([*CHAIN, *ENDS, *LAST]) == sorted(name for name in nets if name not in REFUSED)
    assert all(place in CHAIN for place, *_ in ENDS.values())


@pytest.mark.slow
def test_what_a_form_traces_to_is_in_the_network():
    """What stands under a name says the operations of the filed form, whether as layers or as functions."""
    nets, images = filed_forms()
    here = said(every_form(), SHAPE)

    missing = {name: said(net, images.shape[1:]) - here for name, net in nets.items() if name not in REFUSED}

    assert not any(missing.values()), missing


@pytest.mark.parametrize("bits", BOUND)
def test_network_of_every_form_is_what_torch_computes(bits):
    """Scores; that what stands behind them is left out is said of each."""
    images = pictures(40, SHAPE)
    program = lower(every_form(), images, scheme=Scheme(bits=bits, ranges="max"))

    with torch.no_grad():
        wanted = every_form(scores=True)(to_float(images)).numpy()
    found = golden.run(program, images).scores * program.steps[program.output]

    assert np.abs(found - wanted).max() < BOUND[bits] * np.abs(wanted).max()
    assert len(np.unique(found)) > 100
    for end in ("aten.log_softmax", "aten.sigmoid", "aten.softmax"):
        assert f"{end} at" in program.metadata[NOTES]
