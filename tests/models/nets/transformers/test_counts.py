"""Transformers of the zoo: the published and derived numbers, to the last where they are known so."""

import pytest
import torch
from addax.common.errors import UserError
from addax.models.nets import zoo
from addax.models.nets.counting import count, kernel_of
from addax.models.nets.transformers.ipt import IPT, IPT_TASKS
from addax.models.nets.transformers.tnt import TNT_SIZES
from addax.models.nets.transformers.vit import VisionTransformer

PATCHES, WORDS = 196, 16


def weights_of(module):
    """Numbers in the matrices of dense layers."""
    return sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, torch.nn.Linear))


@pytest.mark.parametrize(
    ("name", "parameters", "billions"),
    [
        ("tnt-tiny", 6_076_408, 1.404), ("tnt-small", 23_768_584, 5.217), ("tnt-base", 65_428_680, 14.049),
        ("deit-tiny", 5_717_416, 1.254), ("deit-small", 22_050_664, 4.599),
    ],
)  # fmt: skip
def test_parameters_and_terms_of_classifiers(name, parameters, billions):
    found = zoo.counts_of(name)

    assert found.parameters == parameters
    assert found.macs / 1e9 == pytest.approx(billions, abs=5e-4)
    assert set(found.terms) == {"mult"}


def test_the_largest_deit():
    """No entry of the zoo, but one of the survey's numbers."""
    with torch.device("meta"):
        found = count(VisionTransformer(width=768, heads=12), (3, 224, 224))

    assert found.parameters / 1e6 == pytest.approx(86.57, abs=5e-3)
    assert found.macs / 1e9 == pytest.approx(17.564, abs=5e-4)


@pytest.mark.parametrize(("name", "width", "heads"), [("deit-tiny", 192, 3), ("deit-small", 384, 6)])
def test_the_survey_s_formulas_of_attention_and_perceptron(name, width, heads):
    """4Nd^2 + 2N^2 d and 8Nd^2 in each of twelve blocks; stem and classifier beside them. Elements of functions."""
    tokens, found = PATCHES + 1, zoo.counts_of(name)

    inner = 12 * (4 * tokens * width**2 + 2 * tokens**2 * width + 8 * tokens * width**2)
    assert found.macs == inner + PATCHES * width * 3 * 16 * 16 + 1000 * width
    assert found.attention == 12 * 2 * tokens**2 * width
    assert found.elements == {
        "layernorm": 25 * tokens * width, "softmax": 12 * heads * tokens**2, "gelu": 12 * tokens * 4 * width,
    }  # fmt: skip


@pytest.mark.parametrize("name", TNT_SIZES)
def test_terms_of_tnt_by_the_formula_of_its_blocks(name):
    """Words cost 2nmc(6c+m), their way to the tokens nmcd, tokens 2nd(6d+n), where the last n has the class token."""
    size, found = TNT_SIZES[name], zoo.counts_of(f"tnt-{name}")
    n, m, d, c = PATCHES, WORDS, size.width, size.inner_width

    block = 2 * n * m * c * (6 * c + m) + n * m * c * d + 2 * (n + 1) * d * (6 * d + n + 1)
    assert found.macs == 12 * block + n * m * c * 3 * 7 * 7 + n * m * c * d + 1000 * d
    assert found.attention == 12 * (2 * n * m * m * c + 2 * (n + 1) ** 2 * d)


def test_a_block_of_tnt_beside_an_ordinary_one():
    """The derived numbers of the small network: 1.09 times the weights, and 1.14 times the terms, of 196 tokens."""
    n, m, d, c = PATCHES, WORDS, 384, 24
    with torch.device("meta"):
        ours = weights_of(zoo.build("tnt-small", kernel="mult").blocks[0])
        plain = weights_of(zoo.build("deit-small", kernel="mult").blocks[0])

    assert (ours, plain) == (1_923_840, 1_769_472)
    assert ours == 12 * c**2 + m * c * d + 12 * d**2
    terms = 2 * n * m * c * (6 * c + m) + n * m * c * d + 2 * n * d * (6 * d + n)
    assert (terms / 1e6, 2 * n * d * (6 * d + n) / 1e6) == pytest.approx((429.3, 376.3), abs=0.05)


@pytest.mark.parametrize(
    ("tasks", "parameters", "billions"),
    [
        (("denoise-30",), None, 32.97), (("x2",), 115.460, 33.32), (("x4",), None, 34.73),
        (tuple(IPT_TASKS), 118.892, 33.32),
    ],
)  # fmt: skip
def test_parameters_and_terms_of_ipt(tasks, parameters, billions):
    with torch.device("meta"):
        found = count(IPT(tasks=tasks), (3, 48, 48))

    assert found.macs / 1e9 == pytest.approx(billions, abs=5e-3)
    assert parameters is None or found.parameters / 1e6 == pytest.approx(parameters, abs=5e-4)


def test_every_part_of_ipt():
    def numbers(module):
        return sum(p.numel() for p in module.parameters())

    with torch.device("meta"):
        one, four = IPT(tasks=("x2",)), IPT(tasks=("denoise-30", "x2", "x3", "x4"))

    assert (numbers(one.body.encoder[0]), numbers(one.body.decoder[0])) == (3_986_496, 5_314_752)
    assert (numbers(one.body), numbers(one.head)) == (114_899_328, 411_648)
    assert [numbers(tail) for tail in four.tail] == [1_731, 149_443, 334_083, 297_155]
    assert tuple(one.body.queries.shape) == (1, 256, 576)


@pytest.mark.parametrize("name", ["ipt", *(f"ipt-{task}" for task in IPT_TASKS)])
def test_entries_that_enlarge_say_by_how_much_and_which_tasks_they_have(name):
    """The zoo's scale and tasks decide data and metric of the training: they must be the network's own."""
    with torch.device("meta"):
        net = zoo.build(name, kernel="mult")
    assert (net.scale, net.tasks) == (zoo.NETWORKS[name].scale, zoo.NETWORKS[name].tasks)


@pytest.mark.parametrize("name", ["vit-digits", "tnt-digits"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 32, 32), (3, 32, 32)])
def test_small_transformers_see_seventeen_tokens(name, shape):
    with torch.device("meta"):
        net = zoo.build(name, kernel="mult", shape=shape)

    positions = net.pos_embed if name == "vit-digits" else net.patch_pos
    assert tuple(positions.shape) == (1, 17, 64) and len(net.blocks) == 4
    assert name == "vit-digits" or tuple(net.pixel_pos.shape) == (1, 12, 4, 4)


@pytest.mark.parametrize("name", ["deit-tiny", "tnt-tiny"])
def test_adder_attention_is_a_kernel_of_the_scores(name):
    """All other terms stay, and so do the parameters; the scores are half of the products of attention."""
    plain, adder = zoo.counts_of(name), zoo.counts_of(name, kernel="mult,*.scores=adder")

    assert adder.parameters == plain.parameters
    assert adder.terms == {"mult": plain.macs - plain.attention // 2, "adder": plain.attention // 2}


def test_the_kernel_adder_is_that_of_all_layers_but_the_edges_and_the_context():
    found, plain = zoo.counts_of("deit-tiny", kernel="adder"), zoo.counts_of("deit-tiny")
    with torch.device("meta"):
        net = zoo.build("deit-tiny", kernel="adder,blocks.0.*=mult")

    stem = PATCHES * 192 * 3 * 16 * 16 + 1000 * 192
    assert found.terms == {"mult": stem + plain.attention // 2, "adder": plain.macs - stem - plain.attention // 2}
    ordinary = {path for path, layer in net.named_modules() if kernel_of(layer) == "mult"}
    first = {f"blocks.0.{name}" for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")}
    assert ordinary == {"patch_embed.proj", "head", *first}
    assert (net.blocks[0].attn.heads.scores.kernel, net.blocks[1].attn.heads.scores.kernel) == ("mult", "adder")


def test_counting_leaves_a_network_as_it_was():
    """Norms do not run while they are counted; afterwards they do."""
    torch.manual_seed(0)
    net, x = zoo.build("tnt-digits", kernel="mult"), torch.rand(2, 1, 32, 32)
    net.train()
    before = net(x)

    count(net, (1, 32, 32))

    assert net.training and torch.equal(net(x), before)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("deit-tiny", {"kernel": "shift"}, "layer 'blocks.0.attn.qkv' of vit: the shift kernel has no bias"),
        ("tnt-tiny", {"kernel": "xnor"}, "layer 'proj' of tnt: the xnor kernel has no bias"),
        ("deit-tiny", {"kernel": "mult,*.scores=xnor"},
         "layer 'blocks.0.attn.heads.scores' of vit: scores of attention have the kernel mult or adder, not xnor"),
        ("deit-tiny", {"kernel": "mult", "shape": (3, 224, 225)},
         "vit needs a height and width of 16, 32, .., not 224x225"),
        ("deit-tiny", {"kernel": "mult", "heads": 5}, "heads must divide the width 192, not be 5"),
        ("vit-digits", {"kernel": "mult", "shape": (1, 30, 30)}, "small transformers need square images of 4, 8, 12"),
        ("ipt", {"kernel": "mult", "tasks": ("x2", "x5")}, "tasks of ipt are different ones of x2, .*, not x2, x5"),
        ("ipt", {"kernel": "mult", "task": "x5"}, "this ipt has the tasks x2, .*, not x5"),
        ("ipt-x2", {"kernel": "mult", "classes": 10}, "ipt makes an image, which has no classes"),
        ("ipt-x2", {"kernel": "mult", "pixels": 50}, "ipt needs a height and width of 3, 6, .., not 50x50"),
        ("ipt-x2", {"kernel": "mult", "overlap": 48}, "squares of 48 pixels cannot overlap by 48"),
    ],
)  # fmt: skip
def test_what_they_cannot_be_is_named(name, options, message):
    with torch.device("meta"), pytest.raises(UserError, match=message):
        zoo.build(name, **options)
