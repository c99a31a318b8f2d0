"""Augmentation: what it does to an image, and that a part of a batch is treated like the whole."""

import pytest
import torch
from addax.models.data.augment import Crop, Flip, Jitter, augmented
from image_files import refused
from torch.nn import functional as F

KINDS = (Crop(padding=2), Flip(), Jitter())


def batch(count=16):
    return torch.rand(count, 3, 8, 10, generator=torch.Generator().manual_seed(0))


def test_a_crop_is_a_window_of_the_framed_image():
    x = batch()
    drawn = Crop(padding=2).draw(len(x), (3, 8, 10), torch.Generator().manual_seed(1))

    out = Crop(padding=2).apply(x, drawn)

    framed = F.pad(x, [2] * 4)
    assert out.is_contiguous() and len(set(map(tuple, drawn.tolist()))) > 8
    for image, frame, (row, column) in zip(out, framed, drawn.tolist(), strict=True):
        assert torch.equal(image, frame[:, row : row + 8, column : column + 10])


def test_a_flip_mirrors_some_images():
    x = batch(64)

    out = augmented(x, (Flip(),), torch.Generator().manual_seed(0))

    mirrored = [torch.equal(image, original.flip(2)) for image, original in zip(out, x, strict=True)]
    kept = [torch.equal(image, original) for image, original in zip(out, x, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 16 < sum(mirrored) < 48


def test_a_jitter_by_nothing_changes_nothing():
    x = batch()

    assert torch.allclose(augmented(x, (Jitter(shift=0, angle=0, scale=0),), torch.Generator()), x, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_part_of_a_batch_is_treated_like_the_whole(kind):
    """Protects training by several processes: each has a part, and all do what one would."""
    x = batch()

    whole = augmented(x, (kind,), torch.Generator().manual_seed(3))
    rows = slice(1, None, 2)
    part = augmented(x[rows], (kind,), torch.Generator().manual_seed(3), count=len(x), rows=rows)

    assert torch.equal(part, whole[rows])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Crop(padding=0), "padding must be an integer in 1..1024, not 0"),
        (lambda: Crop(padding=1.5), "padding must be an integer in 1..1024, not 1.5"),
        (lambda: Flip(share=1.5), "share must be a number in 0..1, not 1.5"),
        (lambda: Jitter(shift=float("nan")), "shift must be a number in 0..1024, not nan"),
        (lambda: Jitter(angle="much"), "angle must be a number in 0..3.2, not 'much'"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with refused(message):
        make()
