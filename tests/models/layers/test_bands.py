"""Frequency bands of an image: the transform as it is defined, bands that add up, what is smooth or detailed."""

import math

import pytest
import torch
from addax.models.layers.bands import FrequencyBands, band_images, band_masks, grey, transform
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import refused

HIGH, MID, LOW = range(3)


def naive_bands(light, size, cuts):
    """Of a list of rows, by the sums of the definition: what coefficients of each band make, high first."""
    height, width = len(light), len(light[0])
    made = [[[0.0] * width for _ in range(height)] for _ in range(3)]

    def basis(u, i):
        return (math.sqrt(1 / size) if u == 0 else math.sqrt(2 / size)) * math.cos(
            math.pi * (2 * i + 1) * u / (2 * size)
        )

    for top in range(0, height, size):
        for left in range(0, width, size):
            block = [
                [light[min(top + i, height - 1)][min(left + j, width - 1)] for j in range(size)] for i in range(size)
            ]
            for u in range(size):
                for v in range(size):
                    c = sum(block[i][j] * basis(u, i) * basis(v, j) for i in range(size) for j in range(size))
                    band = HIGH if u + v >= cuts[1] else MID if u + v >= cuts[0] else LOW
                    for i in range(min(size, height - top)):
                        for j in range(min(size, width - left)):
                            made[band][top + i][left + j] += c * basis(u, i) * basis(v, j)
    return torch.tensor(made)


@pytest.mark.parametrize(("size", "cuts", "shape"), [(4, (1, 3), (4, 8)), (4, (2, 5), (6, 5)), (5, (2, 4), (3, 7))])
def test_bands_are_those_of_the_definition(size, cuts, shape):
    """Also where blocks do not fit: the border is repeated."""
    torch.manual_seed(0)
    image = torch.rand(1, 1, *shape, dtype=torch.double)

    found = band_images(image, FrequencyBands(block=size, cuts=cuts))

    torch.testing.assert_close(found[0], naive_bands(image[0, 0].tolist(), size, cuts).double(), atol=1e-6, rtol=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 9), st.integers(1, 20), st.integers(1, 20), st.integers(0, 1000))
def test_bands_add_up_to_the_luminance(size, height, width, seed):
    image = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.double)

    bands = band_images(image, FrequencyBands(block=size, cuts=(1, 4)))

    torch.testing.assert_close(bands.sum(1), grey(image))
    torch.testing.assert_close(transform(size) @ transform(size).T, torch.eye(size, dtype=torch.double))


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.integers(1, 33), st.integers(1, 33))
def test_a_constant_image_is_all_low(value, height, width):
    masks = band_masks(torch.full((1, 3, height, width), value), FrequencyBands())

    assert masks.shape == (1, height, width) and bool((masks == LOW).all())


@pytest.mark.parametrize("seed", range(5))
def test_white_noise_is_mostly_high(seed):
    """Faint noise too, a tenth of the range; of a hundredth nothing is."""
    noise = torch.randn(1, 3, 48, 40, generator=torch.Generator().manual_seed(seed))

    assert float((band_masks(0.5 + 0.3 * noise, FrequencyBands()) == HIGH).float().mean()) > 0.99
    assert float((band_masks(0.5 + 0.1 * noise, FrequencyBands()) == HIGH).float().mean()) > 0.9
    assert float((band_masks(0.5 + 0.01 * noise, FrequencyBands()) == HIGH).float().mean()) < 0.01


def test_a_wave_is_where_its_frequency_is():
    """One coefficient of all blocks, so that no other has a share."""
    places = torch.arange(32) % 8
    for u, band in ((1, LOW), (3, MID), (7, HIGH)):
        wave = torch.cos(math.pi * (2 * places + 1) * u / 16).view(1, 1, 1, -1).expand(1, 1, 32, 32)

        assert bool((band_masks(0.5 + 0.4 * wave, FrequencyBands()) == band).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": 3}, "block must be an integer in 4..32, not 3"),
        ({"cuts": (5, 2)}, "cuts must be an integer in 1..1, not 5"),
        ({"cuts": (2, 15)}, "cuts must be an integer in 3..14, not 15"),
        ({"thresholds": (0.1, 0.0)}, "thresholds must be a number in 1e-06..1, not 0.0"),
        ({"thresholds": (0.1,)}, "thresholds must be two numbers, not (0.1,)"),
        ({"window": 4}, "window must be odd, not 4"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with refused(message):
        FrequencyBands(**options)
