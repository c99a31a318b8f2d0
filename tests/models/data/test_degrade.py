"""Pictures made worse: noise by its statistics, rain by loops over its lines, pairs of a folder, PSNR of colours."""

import math

import numpy as np
import pytest
import torch
from addax.models.data.augment import augmented
from addax.models.data.degrade import GaussianNoise, RainStreaks, degraded_pairs
from addax.models.data.pairs import PHOTOGRAPHS, PicturePair, PicturePairs, load_pairs
from addax.models.data.picture_tasks import PICTURE_TASKS, PictureTask, picture_task
from addax.models.data.quality import psnr, ssim
from addax.models.data.tiles import TileExamples, crops
from addax.models.nets.transformers.ipt import IPT_TASKS
from hypothesis import given
from hypothesis import strategies as st
from image_files import pixels, refused
from torch import Generator


def seeded(seed=0):
    return Generator().manual_seed(seed)


@pytest.mark.parametrize("sigma", [30, 50])
def test_noise_has_the_deviation_it_says_and_no_memory(sigma):
    """On mid grey, where little is cut off: mean and deviation as those of the cut and rounded normal distribution, by
    its sum over bytes; neighbours and channels are not alike."""
    x = torch.full((4, 3, 64, 64), 128 / 255)

    made = augmented(x, (GaussianNoise(sigma=sigma),), seeded()) * 255

    def below(edge):
        return 0.5 * (1 + math.erf((edge - 128) / (sigma * math.sqrt(2))))

    shares = [below(0.5), *(below(v + 0.5) - below(v - 0.5) for v in range(1, 255)), 1 - below(254.5)]
    mean = sum(v * share for v, share in enumerate(shares))
    deviation = math.sqrt(sum((v - mean) ** 2 * share for v, share in enumerate(shares)))
    noise = made - 128
    assert torch.equal(made.round(), made.round().clamp(0, 255)) and float((made - made.round()).abs().max()) < 1e-4
    assert float(made.mean()) == pytest.approx(mean, abs=4 * deviation / math.sqrt(made.numel()))
    assert float(noise.std()) == pytest.approx(deviation, rel=0.02)
    for other in (noise.roll(1, 3), noise.roll(1, 2), noise.roll(1, 1), noise.roll(1, 0)):
        assert abs(float((noise * other).mean())) < 4 * deviation**2 / math.sqrt(made.numel())


def test_noise_is_cut_off_where_bytes_end():
    black = augmented(torch.zeros(1, 1, 50, 50), (GaussianNoise(sigma=30),), seeded())

    assert float(black.min()) == 0 and float((black == 0).float().mean()) == pytest.approx(0.5, abs=0.05)


@given(
    st.integers(1, 3), st.integers(5, 30), st.integers(5, 30), st.integers(0, 1 << 20),
    st.sampled_from([RainStreaks(), RainStreaks(density=0.05, shortest=2, longest=5, slant=80.0)]),
)  # fmt: skip
def test_rain_is_that_of_loops_over_lines(count, height, width, seed, rain):
    """Pixel by pixel, from the numbers drawn; which lie where the attributes say."""
    drawn = rain.draw(count, (2, height, width), seeded(seed))
    x = torch.rand(count, 2, height, width, generator=seeded(seed + 1))

    made = rain.apply(x, drawn)

    for image, numbers in enumerate(drawn.tolist()):
        (slant, length, _), *lines = numbers
        assert abs(slant) <= math.radians(rain.slant) + 1e-6 and rain.shortest <= length <= rain.longest
        aside = math.ceil(rain.longest * math.tan(math.radians(rain.slant)))
        assert len(lines) == max(1, round(rain.density * (height + rain.longest) * (width + 2 * aside)))
        assert all(-rain.longest <= row < height and -aside <= column < width + aside for row, column, _ in lines)
        layer = np.zeros((height, width))
        tangent = float(torch.tensor(slant).tan())
        for row, column, added in lines:
            assert rain.faint - 1e-6 <= added <= rain.bright + 1e-6
            for step in range(int(length)):
                side = math.floor(float(np.float32(np.float32(column + np.float32(step * np.float32(tangent))) + 0.5)))
                at = (int(row) + step, side)
                if 0 <= at[0] < height and 0 <= at[1] < width:
                    layer[at] = max(layer[at], added)
        wanted = (x[image].numpy() + layer).clip(0, 1)
        assert np.abs(made[image].numpy() - wanted).max() <= 0.5 / 255 + 1e-6
    assert float((made * 255 - (made * 255).round()).abs().max()) < 1e-4


def test_part_of_a_batch_is_made_worse_as_in_the_whole():
    """Protects processes that train together."""
    x = torch.rand(4, 1, 12, 12)
    for kind in (GaussianNoise(sigma=30), RainStreaks()):
        whole = augmented(x, (kind,), seeded())
        part = augmented(x[1::2], (kind,), seeded(), count=4, rows=slice(1, None, 2))
        assert torch.equal(part, whole[1::2])


def clean(*names, scale=1):
    made = tuple(
        PicturePair(name=name, low=image, high=image)
        for name, image in ((name, pixels(1, 20, 24, 3, seed=len(name))[0].transpose(2, 0, 1)) for name in names)
    )
    return PicturePairs(pairs=made, scale=scale, said="noise", clean=True)


@pytest.mark.parametrize("kind", [GaussianNoise(sigma=50), RainStreaks()])
def test_a_picture_is_made_worse_in_one_way_for_ever(kind):
    """Whatever lies beside it; others differ; targets stay clean."""
    one, both = degraded_pairs(clean("a"), kind), degraded_pairs(clean("bb", "a", "cc"), kind)

    first, other, like = both.pairs[1], both.pairs[0], both.pairs[2]
    assert np.array_equal(one.pairs[0].low, first.low) and first.low.dtype == np.uint8
    assert not np.array_equal(other.low, like.low) and np.array_equal(other.high, like.high)
    assert np.array_equal(first.high, clean("a").pairs[0].high) and not np.array_equal(first.low, first.high)
    assert not both.clean
    with refused("pictures of noise are pairs already"):
        degraded_pairs(both, kind)


def folder(tmp_path, places, size=(20, 24)):
    for seed, place in enumerate(places):
        (tmp_path / place).mkdir(parents=True)
        np.save(tmp_path / place / "p.npy", pixels(1, *size, 3, seed=seed)[0])
    return tmp_path


def test_pairs_of_a_folder_are_taken_for_rain_and_never_for_noise(tmp_path):
    """Small pictures of other scales that lie beside are not looked at."""
    source = folder(tmp_path, ["HR", "LR/X1", "LR/X2"])

    rain, noise = (PICTURE_TASKS[name].fixed_pairs(source, "test") for name in ("derain", "denoise-30"))

    assert np.array_equal(rain.pairs[0].low, pixels(1, 20, 24, 3, seed=1)[0].transpose(2, 0, 1)) and not rain.clean
    assert np.array_equal(rain.pairs[0].high, noise.pairs[0].high)
    assert PICTURE_TASKS["denoise-30"].clean_pairs(source, "test").clean
    assert np.array_equal(noise.pairs[0].low, degraded_pairs(
        load_pairs(source, "test", scale=1, beside=False), GaussianNoise(sigma=30)
    ).pairs[0].low)  # fmt: skip


def test_without_pairs_rain_is_made(tmp_path):
    """Also beside pictures for super-resolution, and of the photographs that come along."""
    source = folder(tmp_path, ["HR", "LR_bicubic/X2", "LR/X2"])

    for given_source in (source, source / "HR", PHOTOGRAPHS):
        found = PICTURE_TASKS["derain"].fixed_pairs(given_source, "test", limit=1)
        assert (found.pairs[0].low >= found.pairs[0].high).all() and (found.pairs[0].low > found.pairs[0].high).any()


def test_colours_are_compared_by_all_channels():
    """By hand; and the mean of what each channel has alone."""
    one, two = (torch.from_numpy(pixels(2, 14, 13, 3, seed=s).transpose(0, 3, 1, 2)).double() for s in (1, 2))

    squares = ((one - two).numpy() ** 2).mean((1, 2, 3))
    assert psnr(one, two, 0, colour=True).numpy() == pytest.approx(10 * np.log10(255**2 / squares))
    inside = ((one - two).numpy()[:, :, 1:-1, 1:-1] ** 2).mean((1, 2, 3))
    assert psnr(one, two, 1, colour=True).numpy() == pytest.approx(10 * np.log10(255**2 / inside))
    alone = torch.stack([ssim(one[:, c : c + 1], two[:, c : c + 1], 0) for c in range(3)]).mean(0)
    assert ssim(one, two, 0, colour=True).numpy() == pytest.approx(alone.numpy())


def test_tasks_are_those_of_the_network():
    """Names and scales agree; noise in colour, everything else by luma; nothing is cut off at scale 1."""
    assert {name: task.scale for name, task in PICTURE_TASKS.items()} == dict(IPT_TASKS)
    assert [name for name, task in PICTURE_TASKS.items() if task.colour] == ["denoise-30", "denoise-50"]
    assert [PICTURE_TASKS[name].border for name in ("x3", "derain", "denoise-50")] == [3, 0, 0]
    assert picture_task(None, scale=2) == PictureTask(scale=2) and picture_task("x3", scale=3).scale == 3


def test_mistakes_are_one_line(tmp_path):
    source = folder(tmp_path / "a", ["HR", "LR"])
    np.save(source / "LR" / "p.npy", pixels(1, 10, 12, 3)[0])
    with refused("but the clean picture HR/p is 20x24 pixels"):
        load_pairs(source, scale=1)
    (source / "LR" / "p.npy").rename(source / "LR" / "q.npy")
    with refused("has no picture px1 or p, the degraded one of HR/p"):
        load_pairs(source, scale=1)
    with refused("a is 20x24 pixels, and patches of 21 are cut out"):
        TileExamples(pairs=clean("a"), patch=21)
    with refused("no picture of noise has 30x30 pixels; ask for less"):
        crops(clean("a"), (3, 30, 30), 1)
    with refused("sigma must be a number in 0..255, not 300"):
        GaussianNoise(sigma=300)
    with refused("longest must be an integer in 9..1024, not 3"):
        RainStreaks(shortest=9, longest=3)
    with refused("unknown task 'deblur'; known: x2, x3, x4, denoise-30, denoise-50, derain"):
        picture_task("deblur", scale=1)
    with refused("the task x3 makes pictures 3 times as large, and the network 2 times"):
        picture_task("x3", scale=2)
