"""Integer networks with a task: pictures of any size by tiles, measured as papers on their task do."""

import math

import numpy as np
import pytest
import torch
from addax.api.given import given, given_pairs
from addax.api.network import Network
from addax.common.errors import UserError
from addax.models.data.pairs import PicturePair, PicturePairs
from addax.models.data.picture_tasks import PICTURE_TASKS
from addax.models.files.checkpoint import Recipe
from addax.models.nets.transformers.ipt import IPT, IPT_TASKS
from addax.models.nets.transformers.patches import tile_overlap
from addax.models.training.loop import to_float
from addax.quant import golden
from addax.quant.enlarging import enlarged, evaluate_pictures
from addax.quant.fold.scheme import Scheme
from addax.quant.lower.lowering import lower
from addax.quant.program import TASK_NAME, Program
from addax.quant.sources import Source, in_task
from image_files import pixels, refused
from torch import nn

SIDE = 12
PIXELS = Scheme(result="pixels")


def images(count, height=SIDE, width=SIDE, channels=1, seed=0):
    return pixels(count, height, width, channels, seed=seed).transpose(0, 3, 1, 2)


def ipt(task):
    """Small, in evaluation, with results near its images: what the layers add is little."""
    torch.manual_seed(3)
    net = IPT(tasks=tuple(IPT_TASKS), task=task, shape=(1, SIDE, SIDE), features=2, heads=2, blocks=1, pixels=SIDE)
    return net.eval()


@pytest.fixture(scope="module")
def programs():
    """An IPT in one of its tasks as integers, made when asked for."""
    made = {}

    def program(task):
        if task not in made:
            made[task] = lower(ipt(task), images(20), scheme=PIXELS, metadata={TASK_NAME: task})
        return made[task]

    return program


class Window(nn.Sequential):
    """Sees one pixel far, the same at every place."""

    def __init__(self, scale):
        convolution = nn.Conv2d(1, scale * scale, 3, padding=1)
        super().__init__(convolution, nn.PixelShuffle(scale))
        with torch.no_grad():
            convolution.weight.copy_(torch.linspace(-0.1, 0.3, 9 * scale**2).view(-1, 1, 3, 3))


@pytest.mark.parametrize(("task", "height", "width"), [("denoise-50", 12, 31), ("derain", 25, 19), ("x2", 17, 12)])
def test_tiles_make_what_the_whole_makes_where_places_are_alike(task, height, width, monkeypatch):
    """Of a network that sees less far than tiles overlap a Program of the picture's size is the oracle."""
    program = lower(Window(IPT_TASKS[task]).eval(), images(20), scheme=PIXELS, metadata={TASK_NAME: task})
    picture = images(1, height, width, seed=9)[0]
    whole = enlarged(program, picture)
    assert np.array_equal(whole, golden.run(program.resized(height, width), picture[None]).output[0])

    def one_size(self, height, width):
        raise UserError("of one size")

    monkeypatch.setattr(Program, "resized", one_size)
    assert whole.shape == (1, IPT_TASKS[task] * height, IPT_TASKS[task] * width)
    assert np.array_equal(enlarged(program, picture), whole)


@pytest.mark.parametrize("task", ["denoise-30", "derain", "x3"])
def test_a_larger_picture_is_put_together_as_by_the_float_network(programs, task):
    """Any size, also none that tiles divide; near what the float network makes, and on one tile the Program's own."""
    program, net, scale = programs(task), ipt(task), IPT_TASKS[task]
    own, large = images(1)[0], images(1, 17, 27)[0]

    made = enlarged(program, large)

    assert program.enlargement == scale
    assert np.array_equal(enlarged(program, own), golden.run(program, own[None]).output[0])
    assert made.shape == (1, 17 * scale, 27 * scale) and made.dtype == np.uint8
    assert net.overlap == tile_overlap(SIDE) == 3
    with torch.no_grad():
        wanted = (net(to_float(large[None])) * 255).round().clamp(0, 255).numpy()[0]
    assert np.abs(made - wanted).mean() < 4
    with refused("the network takes images of 12x12 pixels or more, not of 11x30"):
        enlarged(program, images(1, 11, 30)[0])


def clean(*sizes):
    made = (images(1, *size, seed=k)[0] for k, size in enumerate(sizes))
    pairs = tuple(PicturePair(name=f"p{k}", low=image, high=image) for k, image in enumerate(made))
    return PicturePairs(pairs=pairs, scale=1, said="squares", clean=True)


def test_pictures_are_degraded_measured_and_told(programs):
    """Twice the same figures to the bit; PSNR by hand, of everything; beside the pictures as they were given."""
    program = programs("denoise-30")
    network = Network(program=program, module=ipt("denoise-30"))

    once, again = (network.evaluate(clean((16, 20), (12, 14))).keys() for _ in range(2))

    once.pop("images_per_second"), again.pop("images_per_second")
    assert once == again and once["scale"] == 1 and "psnr_db_bicubic" not in once
    noisy = PICTURE_TASKS["denoise-30"].fixed(clean((16, 20), (12, 14)))
    for picture, pair in zip(once["pictures"], noisy.pairs, strict=True):
        for way, image in (("integers", enlarged(program, pair.low)), ("input", pair.low)):
            error = ((image.astype(float) - pair.high) ** 2).mean()
            assert picture[way]["psnr_db"] == pytest.approx(10 * math.log10(255**2 / error))
        assert picture["input"]["psnr_db"] == pytest.approx(10 * math.log10(255**2 / 30**2), abs=2.0)
    assert once["psnr_db_float"] == pytest.approx(once["psnr_db"], abs=0.5)
    assert given(program, clean((16, 20)), "test", limit=3).x.shape == (3, 1, SIDE, SIDE)


def test_pairs_that_are_given_stay_as_they_are(programs):
    rainy = PicturePairs(
        pairs=(PicturePair(name="p", low=images(1, 14, 14, seed=1)[0], high=images(1, 14, 14, seed=2)[0]),),
        scale=1, said="rain",
    )  # fmt: skip

    assert given_pairs(programs("derain"), rainy, "test") == rainy
    found = evaluate_pictures(programs("derain"), rainy)
    error = ((rainy.pairs[0].low.astype(float) - rainy.pairs[0].high) ** 2).mean()
    assert found.mean(found.bicubic).psnr_db == pytest.approx(10 * math.log10(255**2 / error))


def test_a_network_without_a_task_makes_no_picture_of_its_own_size():
    """A map as large as the image is not taken for a picture unless the network says so."""
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1)).eval()

    assert lower(net, images(20), scheme=PIXELS, metadata={}).enlargement is None
    assert lower(net, images(20), scheme=PIXELS, metadata={TASK_NAME: "derain"}).enlargement == 1
    with refused("unknown task 'deblur'"):
        evaluate_pictures(lower(net, images(20), scheme=PIXELS, metadata={TASK_NAME: "deblur"}), clean((12, 12)))


def test_a_source_does_the_task_that_is_asked_for():
    """By a person, by its checkpoint, else its own first; at the size of its squares."""
    source = Source(module=ipt("x2"), name="ipt", kernel="mult", said="ipt", shape=(1, 24, 24))

    asked = in_task(source, "derain")
    assert (asked.task, asked.scale, asked.shape, source.module.scale) == ("derain", 1, (1, SIDE, SIDE), 1)
    trained = Source(module=ipt("x2"), name="ipt", kernel="mult", said="ipt", shape=(1, 24, 24), task="x3")
    assert (in_task(trained, None).task, in_task(trained, "x4").scale) == ("x3", 4)
    other = Source(module=nn.ReLU(), name="r", kernel="own", said="r")
    assert in_task(other, None) is other
    with refused("r has no tasks to choose from; leave --task out"):
        in_task(other, "x2")
    with refused("ipt: this ipt has the tasks x2, x3, x4, denoise-30, denoise-50, derain, not deblur"):
        in_task(source, "deblur")


def test_a_checkpoint_says_which_tasks_it_was_trained_for():
    from addax.quant.sources import _trained_tasks

    def said(network, training):
        return _trained_tasks(Recipe(
            network=network, kernel="mult", shape=(3, 48, 48), classes=None, data="d", seed=0, epochs=1,
            training=training,
        ))  # fmt: skip

    assert said("ipt", {"tasks": {"names": ["derain", "x2"]}}) == ("derain", "x2")
    assert said("ipt", None) == said("ipt", {"tasks": {"names": 3}}) == said("ipt", {"tasks": "x2"}) == tuple(IPT_TASKS)
    assert said("ipt-derain", {}) == ("derain",) and said("lenet5", {}) == ()
