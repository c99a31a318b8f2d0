"""What transformers compute, against torch's own attention and encoder layers, and by tiles."""

import pytest
import torch
from addax.common.errors import UserError
from addax.models.nets import zoo
from addax.models.nets.transformers.blocks import Layers, TransformerBlock, rates
from addax.models.nets.transformers.ipt import IPT, DecoderLayer
from addax.models.nets.transformers.patches import by_tiles, image_of, patches_of
from addax.models.nets.transformers.tnt import TNT, TNTSize
from addax.models.nets.transformers.vit import VisionTransformer
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn


def stirred(module):
    """All parameters drawn anew, so that no bias is zero and no norm is plain."""
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn_like(p) * 0.3)
    return module.eval()


def test_a_block_is_torchs_encoder_layer():
    """With norms first and GELU; protects the order of queries, keys, values and heads in one projection."""
    torch.manual_seed(0)
    block = stirred(TransformerBlock(Layers("vit", "mult"), "b", 12, 3, epsilon=1e-6, rate=0.5))
    other = nn.TransformerEncoderLayer(
        12, 3, 48, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    ).eval()
    pairs = {
        "self_attn.in_proj_weight": "attn.qkv.weight", "self_attn.in_proj_bias": "attn.qkv.bias",
        "self_attn.out_proj.weight": "attn.proj.weight", "self_attn.out_proj.bias": "attn.proj.bias",
        "linear1.weight": "mlp.fc1.weight", "linear1.bias": "mlp.fc1.bias", "linear2.weight": "mlp.fc2.weight",
        "linear2.bias": "mlp.fc2.bias", "norm1.weight": "norm1.weight", "norm1.bias": "norm1.bias",
        "norm2.weight": "norm2.weight", "norm2.bias": "norm2.bias",
    }  # fmt: skip
    ours = block.state_dict()
    other.load_state_dict({theirs: ours[name] for theirs, name in pairs.items()})
    x = torch.randn(2, 7, 12)

    torch.testing.assert_close(block(x), other(x), rtol=1e-4, atol=1e-5)


def attended(layer, queries, keys, values):
    """By `nn.MultiheadAttention` with the weights of a layer of IPT."""
    width = queries.shape[-1]
    other = nn.MultiheadAttention(width, layer.heads.heads, bias=False, batch_first=True)
    with torch.no_grad():
        other.in_proj_weight.copy_(torch.cat([layer.queries.weight, layer.keys.weight, layer.values.weight]))
        other.out_proj.weight.copy_(layer.proj.weight)
    return other(queries, keys, values, need_weights=False)[0]


def test_a_decoder_layer_of_ipt_adds_its_query_where_the_authors_do():
    """To queries and keys of itself, to queries alone of what is encoded; never to values."""
    torch.manual_seed(1)
    layer = stirred(DecoderLayer(Layers("ipt", "mult"), "d", 12, 3))
    x, encoded, query = torch.randn(2, 5, 12), torch.randn(2, 5, 12), torch.randn(5, 12)

    y = layer.norm1(x)
    expected = x + attended(layer.attention, y + query, y + query, y)
    expected = expected + attended(layer.crossing, layer.norm2(expected) + query, encoded, encoded)
    expected = expected + layer.mlp(layer.norm3(expected))
    torch.testing.assert_close(layer(x, encoded, query), expected, rtol=1e-4, atol=1e-5)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_patches_are_those_of_unfold_and_go_back(channels, patch, rows, columns):
    x = torch.arange(2.0 * channels * rows * columns * patch**2).view(2, channels, rows * patch, columns * patch)

    found = patches_of(x, patch)

    unfolded = nn.functional.unfold(x, patch, stride=patch).transpose(1, 2)
    assert torch.equal(found.flatten(2), unfolded)
    assert torch.equal(image_of(found, rows), x)


def small_tnt(**options):
    size = TNTSize(width=8, heads=2, inner_width=4, inner_heads=2, blocks=2, patch=8)
    return stirred(TNT(size=size, shape=(1, 16, 24), classes=3, **options))


def test_words_of_a_patch_know_nothing_of_other_patches():
    """Patches are taken apart before the 7x7 stem: in the other order its windows reach over their borders."""
    torch.manual_seed(2)
    net, x = small_tnt(), torch.rand(1, 1, 16, 24)
    other = x.clone()
    other[..., 8:, 8:16] += 1  # the patch in the second row and column

    changed = (net.pixel_embed(x, net.pixel_pos) != net.pixel_embed(other, net.pixel_pos)).flatten(1).any(1)

    assert changed.tolist() == [False, False, False, False, True, False]


def test_a_class_token_of_tnt_gets_nothing_from_words():
    """And each other token gets the words of its own patch, flattened word by word."""
    torch.manual_seed(3)
    block = small_tnt().blocks[0]
    words, tokens = torch.randn(6, 4, 4), torch.randn(1, 7, 8)

    inner = words + block.attn_in(block.norm_in(words))
    inner = inner + block.mlp_in(block.norm_mlp_in(inner))
    outer = tokens.clone()
    for n in range(6):
        flat = torch.cat([inner[n, word] for word in range(4)])
        outer[0, 1 + n] += block.norm2_proj(block.proj(block.norm1_proj(flat)))
    outer = outer + block.attn_out(block.norm_out(outer))
    outer = outer + block.mlp(block.norm_mlp(outer))
    found = block(words, tokens)
    torch.testing.assert_close(found, (inner, outer))


def test_timms_names_of_parameters_are_kept():
    """Weights that others trained load as they are: every name, none more."""
    with torch.device("meta"):
        vit, tnt = (zoo.build(f"{name}-digits", kernel="mult").state_dict() for name in ("vit", "tnt"))

    both = {f"{layer}.{kind}" for layer in ("norm", "head") for kind in ("weight", "bias")} | {"cls_token"}
    block = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    assert set(vit) == both | {"pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"} | {
        f"blocks.{k}.{layer}.{kind}" for k in range(4) for layer in block for kind in ("weight", "bias")
    }
    block = (
        "norm_in", "attn_in.proj", "norm_mlp_in", "mlp_in.fc1", "mlp_in.fc2", "norm1_proj", "norm2_proj", "norm_out",
        "attn_out.proj", "norm_mlp", "mlp.fc1", "mlp.fc2",
    )  # fmt: skip
    bare = ("attn_in.qk", "attn_in.v", "proj", "attn_out.qk", "attn_out.v")
    assert set(tnt) == both | {"patch_pos", "pixel_pos"} | {
        *(f"{layer}.{kind}" for layer in ("pixel_embed.proj", "norm1_proj", "proj", "norm2_proj")
          for kind in ("weight", "bias")),
        *(f"blocks.{k}.{layer}.{kind}" for k in range(4) for layer in block for kind in ("weight", "bias")),
        *(f"blocks.{k}.{layer}.weight" for k in range(4) for layer in bare),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["vit-digits", "tnt-digits"])
@pytest.mark.parametrize("kernel", ["mult", "mult,*.scores=adder", "adder"])
def test_every_parameter_learns(name, kernel):
    """None is left out of the graph, in training mode."""
    torch.manual_seed(4)
    net = zoo.build(name, kernel=kernel, shape=(1, 28, 28)).train()

    net(torch.rand(3, 1, 28, 28)).square().sum().backward()

    assert not [path for path, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()]


def test_rates_of_depth_rise_evenly():
    net = VisionTransformer(shape=(1, 8, 8), patch=4, width=4, heads=1, blocks=3, depth_rate=0.2)

    assert rates(0.3, 1) == [0.0]
    assert [block.drop_path.rate for block in net.blocks] == pytest.approx([0, 0.1, 0.2])


def tiny_ipt(*tasks):
    return stirred(IPT(tasks=tasks, shape=(1, 9, 9), features=2, heads=3, blocks=2, pixels=9, overlap=3))


def test_tasks_share_a_body_and_have_heads_tails_and_queries_of_their_own():
    torch.manual_seed(5)
    net, x = tiny_ipt("denoise-30", "x3", "x4"), torch.rand(2, 1, 9, 9)

    results = []
    for task in net.tasks:
        net.choose(task)
        results.append(net(x))
    assert [tuple(image.shape[2:]) for image in results] == [(9, 9), (27, 27), (36, 36)]
    net.choose("x3")
    with torch.no_grad():
        net.body.queries[1] += 1
        assert not torch.allclose(net(x), results[1])
        net.choose("denoise-30")
        assert torch.equal(net(x), results[0])


def test_larger_images_go_by_tiles_and_every_pixel_by_that_in_whose_middle_it_lies():
    """A naive loop over pixels of the large image: of all tiles that hold one, the one with the nearest middle."""
    torch.manual_seed(6)
    net, x = tiny_ipt("x2"), torch.rand(1, 1, 13, 20)
    starts = [[0, 4], [0, 6, 11]]
    tiles = {(top, left): net(x[..., top : top + 9, left : left + 9]) for top in starts[0] for left in starts[1]}

    found = net(x)

    assert found.shape == (1, 1, 26, 40)
    for row in range(26):
        for column in range(40):
            top, left = (
                min((s for s in ways if 2 * s <= place < 2 * (s + 9)), key=lambda s: (abs(place - 2 * s - 8.5), -s))
                for place, ways in zip((row, column), starts, strict=True)
            )
            expected = tiles[top, left][0, 0, row - 2 * top, column - 2 * left]
            torch.testing.assert_close(found[0, 0, row, column], expected, rtol=1e-4, atol=1e-4)


@given(st.integers(2, 9), st.data())
@settings(max_examples=40, deadline=None)
def test_tiles_of_what_looks_at_no_neighbour_make_the_whole(tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    height, width = (data.draw(st.integers(tile, 25)) for _ in range(2))
    x = torch.arange(float(height * width)).view(1, 1, height, width)

    def twice(piece):
        assert piece.shape[2:] == (tile, tile)
        return piece.repeat_interleave(2, 2).repeat_interleave(2, 3)

    assert torch.equal(by_tiles(twice, x, tile=tile, overlap=overlap, scale=2), twice_whole(x))


def twice_whole(x):
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_images_that_ipt_cannot_take_are_named():
    net = tiny_ipt("x2")

    with pytest.raises(UserError, match="takes images of 9x9 pixels or more, not of 9x8"):
        net(torch.rand(1, 1, 9, 8))
    with pytest.raises(UserError, match=r"patches of 9x9 pixels, not of 12x12; .* must have the size 9"):
        net.train()(torch.rand(1, 1, 12, 12))
    with pytest.raises(ValueError, match="an overlap of tiles is 0 or more and below their 9 pixels, not 9"):
        by_tiles(net, torch.rand(1, 1, 12, 12), tile=9, overlap=9, scale=2)


def test_sizes_are_checked_at_the_door():
    with pytest.raises(ValueError, match="inner_heads must be a positive integer, not 0"):
        TNTSize(width=8, heads=2, inner_width=4, inner_heads=0)
