"""Pairs of pictures: bicubic scaling, PSNR and SSIM against definitions in plain loops, folders, tiles, patches."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from addax.models.data.augment import Flip, Jitter, Patch, QuarterTurn, augmented_pairs
from addax.models.data.bicubic import enlarge, shrink
from addax.models.data.pairs import PHOTOGRAPHS, PicturePair, PicturePairs, holds_pairs, load_pairs
from addax.models.data.quality import as_bytes, luma, psnr, ssim
from addax.models.data.tiles import TileExamples, WholeExamples, crops
from image_files import pixels, refused

SETS = Path("../shared/data/sr_test")


def keys(x):
    """The cubic of Keys at a distance, exactly."""
    x = abs(x)
    if x <= 1:
        return Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1
    return -Fraction(1, 2) * x**3 + Fraction(5, 2) * x**2 - 4 * x + 2 if x <= 2 else Fraction(0)


def row_of(values, wanted):
    """A row scaled to ``wanted`` pixels, pixel by pixel in rational numbers."""
    given = len(values)
    scale = Fraction(wanted, given)
    narrow = min(scale, 1)
    result = []
    for place in range(wanted):
        centre = (place + Fraction(1, 2)) / scale - Fraction(1, 2)
        near = range(math.floor(centre - 2 / narrow) - 1, math.ceil(centre + 2 / narrow) + 2)
        shares = {k: keys(narrow * (centre - k)) for k in near}
        total = sum(shares.values())
        mirror = [*range(given), *reversed(range(given))]
        value = sum(share / total * int(values[mirror[k % (2 * given)]]) for k, share in shares.items())
        result.append(min(max(math.floor(value + Fraction(1, 2)), 0), 255))
    return result


@pytest.mark.parametrize(("scale", "factor"), [(shrink, 2), (shrink, 3), (enlarge, 2), (enlarge, 3)])
def test_bicubic_scaling_is_what_its_definition_gives(scale, factor):
    """Rows first, rounded, then columns: each by sums over the mirrored pixels around it."""
    image = pixels(1, 6, 12)[0]
    size = [n // factor if scale is shrink else n * factor for n in image.shape]

    lines = np.array([row_of(column, size[0]) for column in image.T]).T
    wanted = np.array([row_of(line, size[1]) for line in lines])

    # Sums of floats may round a half otherwise.
    found = scale(image[None], factor)[0].astype(int)
    assert found.shape == wanted.shape and np.abs(found - wanted).max() <= 1
    assert (found != wanted).mean() < 0.02


def test_psnr_and_ssim_are_those_of_plain_loops():
    """Of the luma of BT.601, without a border of two pixels; windows of SSIM inside the image alone."""
    first, second = pixels(1, 16, 17, 3, seed=1)[0], pixels(1, 16, 17, 3, seed=2)[0]
    second = first // 2 + second // 2
    grey = [
        [[16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255 for r, g, b in row.tolist()[2:-2]] for row in image[2:-2]]
        for image in (first, second)
    ]
    left, right = (np.array(image) for image in grey)
    weights = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(weights, weights) / np.outer(weights, weights).sum()
    parts = []
    for row in range(left.shape[0] - 10):
        for column in range(left.shape[1] - 10):
            a, b = (image[row : row + 11, column : column + 11] for image in (left, right))
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            both = (window * (a - ma) * (b - mb)).sum()
            c1, c2 = 2.55**2, 7.65**2
            parts.append((2 * ma * mb + c1) * (2 * both + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))

    one, two = (torch.from_numpy(image.transpose(2, 0, 1).copy())[None] for image in (first, second))
    np.testing.assert_allclose(luma(one, 2)[0], left)
    assert float(psnr(one, two, 2)) == pytest.approx(10 * math.log10(255**2 / np.mean((left - right) ** 2)))
    assert float(ssim(one, two, 2)) == pytest.approx(np.mean(parts))
    assert float(psnr(one, one, 2)) == 100 and float(ssim(one, one, 2)) == pytest.approx(1)


def test_results_are_measured_as_the_bytes_that_a_file_holds():
    assert as_bytes(torch.tensor([-0.1, 0.0019, 0.002, 0.5, 1.2])).tolist() == [0, 0, 1, 128, 255]


def pairs(*sizes, scale=2, channels=1):
    images = [pixels(1, scale * h, scale * w, channels, seed=k)[0].transpose(2, 0, 1) for k, (h, w) in enumerate(sizes)]
    made = tuple(PicturePair(name=f"p{k}", low=shrink(high, scale), high=high) for k, high in enumerate(images))
    return PicturePairs(pairs=made, scale=scale, said="noise")


def test_every_patch_of_a_picture_lies_in_one_tile():
    """Protects the claim that all places are learned from equally often, and that both sizes are of one place."""
    given = pairs((20, 31), (16, 17))
    found = TileExamples(pairs=given, patch=6)
    assert found.shape == (1, 12, 12)
    places = [place for place in found.places if place[0] == 0]
    for row in range(20 - 6 + 1):
        for column in range(31 - 6 + 1):
            holding = [p for p in places if p[1] <= row <= p[1] + 6 and p[2] <= column <= p[2] + 6]
            assert holding and (len(holding) == 1 or row >= 20 - 12 or column >= 31 - 12)

    ((low, high),) = found.batches([np.arange(len(found))])
    assert low.shape == (len(found), 1, 12, 12) and high.shape == (len(found), 1, 24, 24)
    for (index, row, column), small, large in zip(found.places, low, high, strict=True):
        pair = given.pairs[index]
        assert np.array_equal(small, pair.low[:, row : row + 12, column : column + 12])
        assert np.array_equal(large, pair.high[:, 2 * row : 2 * row + 24, 2 * column : 2 * column + 24])


def test_whole_pictures_come_one_by_one():
    found = WholeExamples(pairs=pairs((5, 6), (7, 4)))

    assert [tuple(x.shape) for x, _ in found.batches([np.array([1]), np.array([0])])] == [(1, 1, 7, 4), (1, 1, 5, 6)]


def test_crops_are_of_all_pictures_and_the_same_every_time():
    given = pairs((9, 9), (12, 10), (5, 5))

    found = crops(given, (1, 8, 8), 9)

    assert found.shape == (9, 1, 8, 8) and np.array_equal(found, crops(given, (1, 8, 8), 9))
    assert len(crops(given, (1, 8, 8), 1000)) == 2 * 2 + 5 * 3
    with refused("no picture of noise has 13x8 pixels"):
        crops(given, (1, 13, 8), 1)


@pytest.mark.parametrize("kind", [Patch(size=4), Flip(), QuarterTurn()], ids=lambda kind: kind.kind)
def test_an_image_and_the_larger_one_are_changed_alike(kind):
    """Every pixel of the small image stands for nine equal ones: so it must stay."""
    small = torch.rand(32, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    large = small.repeat_interleave(3, 2).repeat_interleave(3, 3)

    x, y = augmented_pairs(small, large, (kind,), torch.Generator().manual_seed(1))

    assert torch.equal(y, x.repeat_interleave(3, 2).repeat_interleave(3, 3))
    assert x.shape[2:] == (4, 4) if kind.kind == "patch" else not torch.equal(x, small)


def test_turns_are_all_four_quarters():
    x = torch.rand(40, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    drawn = QuarterTurn().draw(40, (1, 3, 3), torch.Generator().manual_seed(0))

    turned = QuarterTurn().apply(x, drawn)

    assert set(drawn.tolist()) == {0, 1, 2, 3}
    assert all(torch.equal(new, old.rot90(int(k), (1, 2))) for new, old, k in zip(turned, x, drawn, strict=True))


def test_augmentations_that_do_not_fit_are_refused():
    x, y, random = torch.rand(2, 1, 4, 5), torch.rand(2, 1, 8, 10), torch.Generator()

    with refused("jitter changes an image so that it does not belong to a larger one"):
        augmented_pairs(x, y, (Jitter(),), random)
    with refused("only square images can be turned, not of 4x5"):
        augmented_pairs(x, y, (QuarterTurn(),), random)
    with refused("a patch of 5 pixels cannot be cut out of an image of 4x5"):
        augmented_pairs(x, y, (Patch(size=5),), random)


def write(folder, **images):
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        np.save(folder / f"{name}.npy", image)


def test_a_folder_of_pictures_is_made_small(tmp_path):
    """Rows and columns that the scale does not divide are cut off at the end; grey becomes three equal channels."""
    grey = pixels(1, 9, 13)[0]
    write(tmp_path, b=pixels(1, 8, 8, 3)[0], a=grey)

    found = load_pairs(tmp_path, scale=2)

    first, second = found.pairs
    assert (first.name, second.name, len(found)) == ("a", "b", 2)
    assert np.array_equal(first.high, np.stack([grey[:8, :12]] * 3))
    assert np.array_equal(first.low, shrink(first.high, 2)) and first.low.shape == (3, 4, 6)
    assert len(load_pairs(tmp_path, scale=2, limit=1)) == 1
    assert holds_pairs(tmp_path) and holds_pairs(PHOTOGRAPHS) and not holds_pairs("digits")


@pytest.mark.parametrize("place", ["LR_bicubic/X2", "LR/X2", "LR_bicubic", "LR"])
@pytest.mark.parametrize("name", ["a", "ax2"])
def test_small_pictures_that_lie_beside_the_large_are_taken(tmp_path, place, name):
    write(tmp_path / "test" / "HR", a=pixels(1, 9, 8)[0])
    small = pixels(1, 4, 4, seed=5)[0]
    write(tmp_path / "test" / place, **{name: small})

    (pair,) = load_pairs(tmp_path, "test", scale=2, channels=1).pairs

    assert np.array_equal(pair.low[0], small)


def test_pictures_that_do_not_fit_are_named(tmp_path):
    write(tmp_path / "HR", a=pixels(1, 9, 8)[0])
    write(tmp_path / "LR", a=pixels(1, 5, 4)[0])
    with refused("LR/a.npy is 5x4 pixels, but HR/a is 9x8 pixels, and 2 times smaller that is 4x4"):
        load_pairs(tmp_path, scale=2, channels=1)
    with refused("has 1 channels, but the network takes 4"):
        load_pairs(tmp_path, scale=2, channels=4)
    (tmp_path / "LR" / "a.npy").unlink()
    with refused("LR has no picture ax2 or a, the small one of HR/a"):
        load_pairs(tmp_path, scale=2, channels=1)
    with refused("too small to be made 10 times smaller"):
        load_pairs(tmp_path / "HR", scale=10, channels=1)
    with refused("no pictures at", "'photographs', or a folder of pictures"):
        load_pairs(tmp_path / "none", scale=2)
    with refused("p0 is 5x6 pixels when made small, and patches of 6 are cut out"):
        TileExamples(pairs=pairs((5, 6)), patch=6)


@pytest.mark.slow
@pytest.mark.guard
def test_the_photographs_have_no_row_in_both_splits():
    train, test = (load_pairs(PHOTOGRAPHS, split, scale=2) for split in ("train", "test"))

    assert (
        [pair.name for pair in train.pairs] == [pair.name for pair in test.pairs] == ["china", "flower", "grace_hopper"]
    )
    assert [pair.high.shape for pair in train.pairs] == [(3, 320, 640), (3, 320, 640), (3, 450, 512)]
    assert [pair.high.shape for pair in test.pairs] == [(3, 106, 640), (3, 106, 640), (3, 150, 512)]


@pytest.mark.slow
@pytest.mark.skipif(not SETS.is_dir(), reason="needs Set5 and Set14 in ../shared/data/sr_test")
@pytest.mark.parametrize(("name", "decibels"), [("Set5", 33.67), ("Set14", 30.23)])
def test_bicubic_scaling_has_the_known_figures(name, decibels):
    """33.67 and 30.23 dB on Y for twice the size, and small images that are nearly those which MATLAB made."""
    given, made = load_pairs(SETS / name, scale=2), load_pairs(SETS / name / "HR", scale=2)

    def decibels_of(pair):
        image, wanted = (torch.from_numpy(part)[None] for part in (enlarge(pair.low, 2), pair.high))
        return float(psnr(image, wanted, 2))

    far = [np.abs(a.low.astype(int) - b.low).mean() for a, b in zip(given.pairs, made.pairs, strict=True)]
    assert max(far) < 0.05
    assert np.mean([decibels_of(pair) for pair in given.pairs]) == pytest.approx(decibels, abs=0.3)
