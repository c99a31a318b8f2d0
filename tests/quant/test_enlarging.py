"""An integer network that makes an image: pixels at its end, any size, the same as floats within their rounding."""

import numpy as np
import onnxruntime
import pytest
import torch
from addax.models.data.bicubic import shrink
from addax.models.data.pairs import PicturePair, PicturePairs
from addax.models.nets.edsr import EDSR
from addax.models.training.loop import to_float
from addax.quant import golden
from addax.quant.enlarging import enlarged, evaluate_pictures
from addax.quant.export import export
from addax.quant.fold.scheme import Scheme
from addax.quant.lower.lowering import lower
from addax.quant.ops.ends import PIXEL
from image_files import pixels, refused
from networks import random_program
from torch import nn

PIXELS = Scheme(result="pixels")


def network(kernel="mult", channels=1, share=None):
    """As trained: results near 0..1, statistics of batch norms settled."""
    torch.manual_seed(5)
    net = EDSR(kernel=kernel, shape=(channels, 6, 8), blocks=2, features=4, share=share)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        net.train()(to_float(images(40, channels=channels)))
    return net.eval()


def images(count, channels=1, height=6, width=8):
    return pixels(count, height, width, channels).transpose(0, 3, 1, 2)


@pytest.fixture(scope="module")
def program():
    return lower(network(), images(40), scheme=PIXELS)


@pytest.mark.parametrize(("kernel", "share"), [("mult", None), ("mult", 0.5), ("adder", None)])
def test_the_result_is_an_image(kernel, share):
    """Unsigned bytes, 255 for 1.0, what is beyond cut off: near the bytes that the float network's image would have."""
    net, x = network(kernel, share=share), images(12)

    made = lower(net, images(40), scheme=PIXELS)

    assert made.format(made.output) == PIXEL and made.steps[made.output] == 1 / 255 and made.enlargement == 2
    with torch.no_grad():
        wanted = (net(to_float(x)) * 255).round().clamp(0, 255).numpy()
    far = np.abs(golden.run(made, x).output - wanted)
    assert np.quantile(far, 0.99) < (6 if kernel == "mult" else 40) and far.mean() < (2 if kernel == "mult" else 10)


class Shuffled(nn.Sequential):
    """As ESPCN: the image is a shuffle of the last sums."""

    def __init__(self, *more):
        super().__init__(nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2), *more)


class Twice(Shuffled):
    def forward(self, x):
        made = super().forward(x)
        return made + made.relu()


@pytest.mark.parametrize(
    "make", [Shuffled, lambda: Shuffled(nn.Sigmoid()), lambda: Shuffled(nn.Hardtanh(0.0, 1.0)), Twice],
    ids=["shuffle", "sigmoid", "clamp", "sum"],
)  # fmt: skip
def test_whatever_comes_last_is_on_the_grid_of_pixels(make):
    """Behind a move the sums are; a sigmoid counts, though it keeps an order; what else reads it takes another grid."""
    torch.manual_seed(1)
    net, x = make().eval(), images(12)

    made = lower(net, images(40), scheme=PIXELS)

    assert made.format(made.output) == PIXEL and made.steps[made.output] == 1 / 255
    with torch.no_grad():
        wanted = (net(to_float(x)) * 255).round().clamp(0, 255).numpy()
    assert np.abs(golden.run(made, x).output - wanted).mean() < 1


def test_a_larger_image_is_made_of_the_same_integers(program):
    """Where no border is near, a crop of it gives the same pixels."""
    large = images(1, height=40, width=44)[0]

    whole = enlarged(program, large)

    assert whole.shape == (1, 80, 88)
    # Seven convolutions and one of half pixels see less than eight pixels far.
    crop = enlarged(program, large[:, 10:34, 8:36])
    assert np.array_equal(crop[:, 16:-16, 16:-16], whole[:, 36:52, 32:56])
    assert program.resized(6, 8) is program


def test_a_network_of_one_size_says_so():
    classifier = random_program(0)

    assert classifier.enlargement is None
    with refused("the network does not take images of"):
        classifier.resized(classifier.input.shape[1] + 9, classifier.input.shape[2] + 9)


def test_scores_are_means_over_whole_pictures(program):
    high = [pixels(1, 24, 32, 1, seed=1)[0].transpose(2, 0, 1), pixels(1, 32, 28, 1, seed=2)[0].transpose(2, 0, 1)]
    made = tuple(PicturePair(name=f"p{k}", low=shrink(image, 2), high=image) for k, image in enumerate(high))

    found = evaluate_pictures(program, PicturePairs(pairs=made, scale=2, said="noise"), module=network())

    value = found.keys()
    assert value["psnr_db"] == pytest.approx(np.mean([entry.psnr_db for entry in found.integers]))
    assert value["psnr_db_float"] == pytest.approx(value["psnr_db"], abs=0.3)
    assert [picture["name"] for picture in value["pictures"]] == ["p0", "p1"] and "bicubic" in value["pictures"][0]
    assert evaluate_pictures(program, PicturePairs(pairs=made, scale=2, said="n")).keys()["psnr_db_float"] is None


def test_its_file_computes_the_same_in_onnxruntime(program, tmp_path):
    """Protects the whole way out: sums, residuals at 12 bits, moves, and pixels at the end."""
    x = images(10)
    export(program, tmp_path / "q", fmt="qcdq")
    (path,) = (tmp_path / "q").glob("*.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    (found,) = session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})

    assert np.array_equal(found.astype(np.int64), golden.run(program, x).output)


@pytest.mark.slow
@pytest.mark.guard
@pytest.mark.parametrize(("kernel", "share"), [("mult", 0.5), ("adder", None)])
def test_its_rtl_computes_the_same(kernel, share, tmp_path):
    """A trained form of each: skips over two blocks and all of them, moves, a shuffle, pixels at the end."""
    from addax.api.network import Network

    made = lower(network(kernel, share=share), images(40), scheme=PIXELS)

    found = Network(program=made).generate("ecp5-85k", fps=2000, out=tmp_path / "build").simulate(images(4), stall=30)

    assert found.bit_exact and found.images == 4
