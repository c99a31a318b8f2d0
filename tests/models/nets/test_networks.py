"""Networks of the zoo: parameters and terms to the last, a kernel for every layer, shapes that they refuse."""

import pytest
import torch
from addax.common.errors import UserError
from addax.models.files.checkpoint import Recipe, load_checkpoint, save_checkpoint
from addax.models.layers.adder import AdderConv2d
from addax.models.layers.binary import BinaryConv2d, Sign
from addax.models.layers.kernels import Kernels
from addax.models.layers.shift import ShiftConv2d
from addax.models.nets import zoo
from addax.models.nets.blocks import BinaryBlock, PadShortcut
from addax.models.nets.counting import count, kernel_of
from torch import nn


def counted(name, kernel, **options):
    entry = zoo.NETWORKS[name]
    with torch.device("meta"):
        return count(zoo.build(name, kernel=kernel, **options), options.get("shape", entry.shape))


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("resnet18", 11_689_512, 1.814e9),
        ("resnet34", 21_797_672, 3.664e9),
        ("resnet50", 25_557_032, 4.089e9),
        ("mobilenet-v2", 3_504_872, None),
        ("efficientnet-b0", 5_288_548, 0.386e9),
    ],
)
def test_large_networks_have_the_parameters_of_torchvisions(name, parameters, macs):
    """Of 1,000 classes; billions of terms to the published third digit."""
    found = counted(name, "mult")

    assert found.parameters == parameters
    assert macs is None or found.macs == pytest.approx(macs, abs=0.5e6)


@pytest.mark.parametrize(
    ("name", "kernel", "first", "others"),
    [
        ("resnet20", "adder", 442_368 + 640, 40_370_176),
        ("resnet32", "adder", 442_368 + 640, 68_681_728),
        ("resnet20", "xnor:fda", 442_368 + 640, 40_108_032),
        ("vgg-small", "adder", 3_538_944 + 81_920, 603_979_776),
    ],
)
def test_terms_of_small_networks_are_the_derived_ones(name, kernel, first, others):
    """40.813 M and 69.125 M with 1x1 shortcuts, 40.551 M with padded ones, 607.5 M in VGG-small's convolutions."""
    found = counted(name, kernel)

    assert found.terms == {"mult": first, kernel.partition(":")[0]: others}
    assert found.macs == first + others


def test_lenet5_has_the_classic_counts():
    """416,520 terms at 28x28. Of the classic 61,706 parameters 236 are biases, in place of which are batch norms."""
    found = counted("lenet5", "mult", shape=(1, 28, 28))

    assert found.macs == 416_520
    assert found.parameters == 61_706 - (6 + 16 + 120 + 84 + 10) + 2 * (6 + 16 + 120 + 84 + 10)


@pytest.mark.parametrize(("name", "outside"), [("resnet20", 432), ("vgg-small", 3456)])
def test_weights_of_a_binary_network_are_the_published_number_of_bits(name, outside):
    """267,264 of ResNet-20 with padded shortcuts; real are the first convolution and the classifier only."""
    with torch.device("meta"):
        net = zoo.build(name, kernel="xnor:fda")
    layers = {path: m for path, m in net.named_modules() if kernel_of(m)}

    bits = sum(layer.weight.numel() for layer in layers.values() if isinstance(layer, BinaryConv2d))
    assert bits == {"resnet20": 267_264, "vgg-small": 4_574_592 - 3456}[name]
    real = [path for path, layer in layers.items() if not isinstance(layer, BinaryConv2d)]
    assert real == ["conv1", "fc"]
    assert layers["conv1"].weight.numel() == outside


def test_noise_adaptation_counts_as_no_parameter():
    """It is gone when the network runs."""
    assert counted("resnet20", "xnor:fda").parameters == counted("resnet20", "xnor").parameters


def test_torchvisions_names_of_parameters_are_kept():
    """Weights that others trained load as they are."""
    with torch.device("meta"):
        large = {name: set(zoo.build(name, kernel="mult").state_dict())
                 for name in ("resnet50", "mobilenet-v2", "efficientnet-b0")}  # fmt: skip

    assert {"conv1.weight", "layer1.0.downsample.0.weight", "layer4.2.bn3.running_var", "fc.bias"} <= large["resnet50"]
    assert len(large["resnet50"]) == 320
    expected = {"features.0.0.weight", "features.1.conv.0.0.weight", "features.1.conv.1.weight",
                "features.2.conv.1.1.bias", "features.18.1.running_mean", "classifier.1.weight"}  # fmt: skip
    assert expected <= large["mobilenet-v2"]
    assert len(large["mobilenet-v2"]) == 314
    expected = {"features.0.0.weight", "features.1.0.block.1.fc1.bias", "features.4.2.block.3.1.running_var",
                "features.6.0.block.2.fc2.weight", "features.8.1.bias", "classifier.1.weight"}  # fmt: skip
    assert expected <= large["efficientnet-b0"]
    assert len(large["efficientnet-b0"]) == 360


# A kernel for each layer


@pytest.mark.parametrize(
    ("name", "kernel", "shape"),
    [
        ("vgg-small", "adder", (1, 8, 16)),
        ("vgg-small", "xnor:dorefa", (3, 8, 8)),
        ("resnet32", "shift", (3, 8, 8)),
        ("resnet18", "adder", (3, 32, 64)),
        ("resnet34", "xnor:fda", (1, 32, 32)),
        ("mobilenet-v2", "shift", (3, 32, 32)),
        ("efficientnet-b0", "adder", (3, 32, 64)),
    ],
)
def test_networks_run_at_other_shapes_and_kernels(name, kernel, shape):
    large = name not in ("vgg-small", "resnet32")
    with torch.device("meta" if large else "cpu"):
        net = zoo.build(name, kernel=kernel, shape=shape, classes=3, **({"width": 4} if name == "vgg-small" else {}))

        assert net(torch.rand(2, *shape)).shape == (2, 3)
    kinds = {kernel_of(m) for m in net.modules()} - {None}
    assert kinds == {"mult", kernel.partition(":")[0]}


def test_first_pattern_decides_a_layers_kernel_at_the_edges_too():
    kernels = Kernels.of("adder,layer1.1.*=mult,layer1.*=shift,conv1=adder")
    net = zoo.build("resnet20", kernel=kernels, shape=(3, 8, 8))

    assert str(kernels) == "adder,layer1.1.*=mult,layer1.*=shift,conv1=adder"
    assert type(net.conv1) is type(net.layer2[0].conv1) is AdderConv2d
    assert type(net.layer1[1].conv2) is type(net.fc) is nn.Conv2d
    assert type(net.layer1[0].conv1) is ShiftConv2d


def test_activation_is_that_of_the_layer_behind_it():
    """A sign stands where the next layer is binary, a ReLU where it is not."""
    net = zoo.build("lenet5", kernel="adder,fc1=xnor:fda")

    assert [type(layer) for layer in (net.relu1, net.relu2, net.relu3)] == [nn.ReLU, Sign, nn.ReLU]
    assert net.relu2.noise.first.shape[1] == 16


def test_binary_blocks_are_the_released_ones():
    """One slope, no ReLU behind the sum, slices and zeros beside it; a ReLU in front of the pool, a bias at the end."""
    net = zoo.build("resnet20", kernel="xnor:fda", shape=(3, 8, 8))

    blocks = [net.get_submodule(f"layer{stage}.{number}") for stage in (1, 2, 3) for number in range(3)]
    assert all(isinstance(block, BinaryBlock) and not block.each for block in blocks)
    assert [type(block.downsample) for block in blocks] == [
        PadShortcut if k in (3, 6) else nn.Identity for k in range(9)
    ]
    assert {(block.prelu1.weight.numel(), block.prelu1.weight.item()) for block in blocks} == {(1, 0.25)}
    assert [type(layer) for layer in (net.relu, net.end, net.bn2)] == [nn.Identity, nn.ReLU, nn.Identity]
    assert net.fc.bias is not None
    x = torch.rand(1, 16, 5, 4)
    beside = blocks[3].downsample(x)
    assert torch.equal(beside[:, 8:24], x[:, :, ::2, ::2])
    assert not beside[:, :8].any()
    assert not beside[:, 24:].any()


def test_bi_real_blocks_have_a_shortcut_for_every_convolution():
    """The second one's is the sum behind the first."""
    block = BinaryBlock(Kernels.of("xnor"), "", 8, 8, 1, shortcut=nn.Identity(), each=True).eval()
    with torch.device("meta"):
        blocks = [m for m in zoo.build("resnet18", kernel="xnor").modules() if isinstance(m, BinaryBlock)]
    x = torch.randn(2, 8, 4, 4)

    inner = block.bn1(block.prelu1(block.conv1(block.sign1(x)))) + x
    expected = block.bn2(block.prelu2(block.conv2(block.sign2(inner)))) + inner

    assert torch.allclose(block(x), expected)
    assert [block.each for block in blocks] == [True] * 8


def test_checkpoint_holds_what_a_binary_network_needs(tmp_path):
    """Method and patterns stand in the recipe, the noise among the tensors: training can go on with it."""
    kernel = "adder,fc*=xnor:fda,fc3=mult"
    net = zoo.build("lenet5", kernel=kernel).eval()
    recipe = Recipe(
        network="lenet5", kernel=kernel, shape=(1, 16, 16), classes=10, data="digits", seed=0, epochs=0, accuracy=0.0
    )
    save_checkpoint(tmp_path / "net.safetensors", net, recipe)

    found, read = load_checkpoint(tmp_path / "net.safetensors")

    x = torch.rand(2, 1, 16, 16)
    assert read == recipe
    assert torch.equal(found(x), net(x))
    assert torch.equal(found.relu2.noise.first, net.relu2.noise.first)


# Refusals


@pytest.mark.parametrize(
    ("name", "kernel", "message"),
    [
        ("resnet50", "xnor", "block 'layer1.0' is a bottleneck, which has no binary form"),
        ("mobilenet-v2", "xnor:fda", r"layer 'features\.1\.conv\.0\.0' of mobilenet-v2 has no binary form"),
        ("resnet20", "adder,layer1.0.conv1=xnor", "must have two binary convolutions, or none"),
        ("resnet18", "adder,fc=adder", "layer 'fc' of resnet18 is an ordinary dense layer"),
        ("vgg-small", "adder,fc=adder", "layer 'fc' of vgg-small"),
        ("efficientnet-b0", "xnor", r"layer 'features\.1\.0\.block\.0\.0' of efficientnet-b0 has no binary form"),
        (
            "efficientnet-b0",
            "adder,*.fc1=adder",
            r"layer 'features\.1\.0\.block\.1\.fc1' of efficientnet-b0 is an ordi",
        ),
        ("mobilenet-v2", "mult,classifier*=shift", "layer 'classifier.1' of mobilenet-v2"),
        ("resnet20", "xnor:best", "kernels with a method are xnor:straight-through, .*, not 'xnor:best'"),
        ("resnet20", "adder,conv1", "kernels must be KERNEL or KERNEL,PATTERN=KERNEL"),
        ("resnet20", "relu", "unknown kernel 'relu'; known: adder"),
        ("resnet21", "adder", "unknown network 'resnet21'; known: lenet5"),
    ],
)
def test_what_cannot_be_built_is_named(name, kernel, message):
    with pytest.raises(UserError, match=message), torch.device("meta"):
        zoo.build(name, kernel=kernel)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("vgg-small", (3, 12, 8), "multiples of 8, not 12x8"),
        ("resnet18", (3, 100, 96), "resnet18 needs a height and width that are multiples of 32, not 100x96"),
        ("mobilenet-v2", (3, 32, 30), "mobilenet-v2 needs"),
        ("resnet32", (3, 16, 20), "resnet32 needs square images"),
    ],
)
def test_shapes_that_do_not_divide_are_refused(name, shape, message):
    with pytest.raises(UserError, match=message):
        zoo.build(name, kernel="mult", shape=shape)
