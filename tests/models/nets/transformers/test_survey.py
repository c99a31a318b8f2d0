"""Transformers in the survey's categories, and what they cost, counted by tools that share nothing with ours."""

from collections import Counter

import pytest
import torch
from addax.common.errors import UserError
from addax.models.layers.attention import Attention
from addax.models.nets import zoo
from addax.models.nets.counting import OF_CONTEXT, OF_SCORES
from addax.models.nets.transformers.ipt import IPT_TASKS
from addax.models.nets.transformers.survey import SURVEY, survey_category
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

TRANSFORMERS = [name for name, entry in zoo.NETWORKS.items() if entry.survey is not None]


def test_transformers_and_no_others_have_a_place():
    """Whatever has attention is a transformer; its entry in the zoo says the category."""
    for name, entry in zoo.NETWORKS.items():
        with torch.device("meta"):
            layers = zoo.build(name, kernel=entry.kernel).modules()
        assert any(isinstance(layer, Attention) for layer in layers) == (entry.survey is not None), name
        assert entry.survey is None or entry.survey in SURVEY
    placed = {name: zoo.NETWORKS[name].survey for name in TRANSFORMERS}
    assert placed == {
        **dict.fromkeys(
            ("vit-digits", "tnt-digits", "deit-tiny", "deit-small", "tnt-tiny", "tnt-small", "tnt-base"), "backbone"
        ),
        **dict.fromkeys(("ipt", *(f"ipt-{task}" for task in IPT_TASKS)), "low-level"),
    }  # fmt: skip


def test_unknown_categories_are_refused_with_the_known_ones():
    assert survey_category("video") == "video"
    with pytest.raises(UserError, match=r"unknown category 'vidoe' of the survey; known: backbone, high-level, low-"):
        survey_category("vidoe")


@pytest.mark.parametrize("name", [name for name in TRANSFORMERS if name != "ipt"])
def test_terms_are_those_that_torch_counts_itself(name):
    """Torch's own counter of floating-point operations, two for a term, sees matrix products and convolutions that run,
    and knows no layer of ours; of products of two tensors it counts the same as well."""
    counts, entry = zoo.counts_of(name), zoo.NETWORKS[name]
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        zoo.build(name, kernel="mult").eval().requires_grad_(False)(torch.zeros(1, *entry.shape))

    assert counts.macs == counter.get_total_flops() // 2
    found = counter.get_flop_counts()["Global"]
    assert counts.attention == found[torch.ops.aten.bmm] // 2


@pytest.mark.parametrize("name", ["vit-digits", "tnt-digits"])
def test_functions_are_those_that_run(name):
    """Hooks of another kind, on a pass with numbers: what enters and leaves each function, beside what was counted."""
    seen = Counter()

    def note(layer, given, result):
        assert given[0].shape == result.shape
        seen[type(layer).__name__.lower()] += result.numel()

    network = zoo.build(name, kernel="mult").eval()
    for layer in network.modules():
        if isinstance(layer, nn.Softmax | nn.LayerNorm | nn.GELU):
            layer.register_forward_hook(note)
    network(torch.rand(1, *zoo.NETWORKS[name].shape))

    counts = zoo.counts_of(name)
    assert counts.elements == seen
    works = counts.works
    total = sum((Counter(work.functions) for work in works), Counter())
    assert total == seen
    assert all("softmax" in work.functions for work in works if work.product == OF_SCORES)
    assert all("gelu" in work.functions for work in works if work.name.endswith("fc1"))


def test_attention_of_ipt_by_formula():
    """Twelve encoder layers with one attention, twelve decoder layers with two, of 256 tokens of 576 numbers: 2 N^2 d
    terms each, and 12 heads of N^2 numbers in their softmax."""
    counts = zoo.counts_of("ipt-x2")

    assert counts.attention == 36 * 2 * 256**2 * 576
    assert counts.elements == {"softmax": 36 * 12 * 256**2, "layernorm": (12 * 2 + 12 * 3) * 256 * 576}


def test_products_know_their_heads():
    """Both products of each block of a network of 4 heads of 16 numbers and 17 tokens."""
    works = [work for work in zoo.counts_of("vit-digits").works if work.product]

    assert [work.product for work in works] == [OF_SCORES, OF_CONTEXT] * 4
    assert {(work.groups, work.pixels, work.inputs, work.outputs) for work in works[::2]} == {(4, 17, 16, 17)}
    assert {(work.groups, work.pixels, work.inputs, work.outputs) for work in works[1::2]} == {(4, 17, 17, 16)}
