"""Data sets: the pixels of the embedded digits, every file format, and what is no data set."""

import os
from pathlib import Path

import numpy as np
import pytest
from addax.models import data
from image_files import pixels, refused, write_classes, write_idx, write_npz
from sklearn.datasets import load_digits

MNIST = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "mnist"


def test_digits_are_split_without_overlap_and_alike():
    """1,437 images to train, 360 to test, every digit with its share in both."""
    train, test = data.load("digits", "train"), data.load("digits", "test")

    assert (len(train), len(test)) == (1437, 360)
    assert train.shape == test.shape == (1, 16, 16)
    everything = np.bincount(load_digits().target)
    assert np.array_equal(np.bincount(train.y) + np.bincount(test.y), everything)
    assert np.abs(np.bincount(test.y) - everything * 360 / 1797).max() < 1


def test_digits_are_scaled_by_sixteen_and_repeated():
    """Grey level v of 0..16 becomes min(255, 16 v), so that all 256 pixel values stay free of rounding."""
    raw = {(image.tobytes(), label) for image, label in zip(load_digits().images, load_digits().target, strict=True)}
    seen = set()
    for split in ("train", "test"):
        images = data.load("digits", split)
        assert images.x.dtype == np.uint8 and images.y.dtype == np.int64
        small = images.x[:, 0, ::2, ::2]
        assert np.array_equal(images.x[:, 0], small.repeat(2, axis=1).repeat(2, axis=2))
        assert set(np.unique(small)) == {min(255, 16 * v) for v in range(17)}
        levels = np.where(small == 255, 16, small // 16).astype(np.float64)
        seen |= {(image.tobytes(), label) for image, label in zip(levels, images.y, strict=True)}
    assert seen == raw


def test_digits_come_in_the_same_order_every_time():
    first, second = data.load("digits", "test"), data.load("digits", "test")

    assert np.array_equal(first.x, second.x) and np.array_equal(first.y, second.y)


@pytest.mark.parametrize(("shape", "factor"), [((1, 8, 8), 1), ((1, 32, 32), 4)])
def test_digits_are_enlarged_to_the_shape_of_the_network(shape, factor):
    images, small = data.load("digits", "test", shape=shape), data.load("digits", "test", shape=(1, 8, 8))

    assert images.shape == shape
    assert np.array_equal(images.x, small.x.repeat(factor, axis=2).repeat(factor, axis=3))


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 16, 8), (1, 28, 28), (1, 12, 12)])
def test_digits_refuse_other_shapes(shape):
    with refused("digits are 8x8 grey images", "x".join(map(str, shape))):
        data.load("digits", "test", shape=shape)


def test_head_takes_the_first_images_or_all():
    images = data.Images(x=pixels(5)[:, None], y=np.arange(5))

    assert images.head(2).y.tolist() == [0, 1] and np.array_equal(images.head(2).x, images.x[:2])
    assert images.head(None) is images
    assert len(images.head(99)) == 5


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(("split", "name"), [("train", "train"), ("test", "t10k")])
def test_idx_files_are_read(tmp_path, suffix, split, name):
    x, y = pixels(), np.array([3, 1, 4, 1, 5, 9], np.uint8)

    images = data.load(write_idx(tmp_path / "set", x, y, split=name, suffix=suffix), split)

    assert np.array_equal(images.x, x[:, None])
    assert images.y.tolist() == y.tolist() and images.y.dtype == np.int64


def test_plain_idx_file_goes_before_the_packed_one(tmp_path):
    write_idx(tmp_path / "set", pixels(seed=1), np.zeros(6, np.uint8), suffix=".gz")
    source = write_idx(tmp_path / "set", pixels(seed=2), np.ones(6, np.uint8))

    images = data.load(source, "train")

    assert np.array_equal(images.x[:, 0], pixels(seed=2)) and images.y.all()


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_npz_is_read_with_channels_first(tmp_path, channels):
    x = pixels(channels=channels)
    source = write_npz(tmp_path / "set.npz", train_x=pixels(2, channels=channels), train_y=np.zeros(2, np.int32),
                       test_x=x, test_y=np.arange(6, dtype=np.uint8))  # fmt: skip

    images = data.load(source, "test")

    assert images.shape == (channels or 1, 4, 5)
    assert np.array_equal(images.x.transpose(0, 2, 3, 1), x.reshape(6, 4, 5, -1))
    assert images.x.flags.c_contiguous
    assert images.y.tolist() == list(range(6))


def test_class_folders_are_read_in_the_order_of_their_names(tmp_path):
    x = pixels(5, channels=3)
    source = write_classes(tmp_path, {"train/b": [x[2]], "train/a": [x[0], x[1]], "test/a": [x[3]], "test/b": [x[4]]})

    train, test = data.load(source, "train"), data.load(source, "test")

    assert train.y.tolist() == [0, 0, 1] and test.y.tolist() == [0, 1]
    assert np.array_equal(train.x, x[:3].transpose(0, 3, 1, 2))
    assert np.array_equal(test.x, x[3:].transpose(0, 3, 1, 2))


def test_class_folders_without_splits_serve_both(tmp_path):
    source = write_classes(tmp_path, {"cat": [pixels(1)[0]], "dog": [pixels(2)[1]]})

    for split in data.SPLITS:
        assert data.load(source, split).y.tolist() == [0, 1]


def test_shape_that_fits_is_accepted_and_another_is_refused(tmp_path):
    source = write_npz(tmp_path / "set.npz", train_x=pixels(), train_y=np.zeros(6, int))

    assert data.load(source, "train", shape=(1, 4, 5)).shape == (1, 4, 5)
    with refused("set.npz", "1x4x5", "3x4x5"):
        data.load(source, "train", shape=(3, 4, 5))


def test_mnist_is_read():
    """The real files: sizes, and the labels that everybody knows."""
    if not (MNIST / "t10k-images-idx3-ubyte.gz").is_file():
        pytest.skip("shared/data/mnist/t10k-images-idx3-ubyte.gz is missing beside the repository")

    test = data.load(str(MNIST), "test", shape=(1, 28, 28))

    assert len(test) == 10_000
    assert test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert (int(test.x.min()), int(test.x.max())) == (0, 255)


def test_unknown_split_is_refused():
    with refused("split must be one of train, test, not 'validation'"):
        data.load("digits", "validation")


@pytest.mark.parametrize("name", ["mnist", "gone.npz", "gone/", "set.txt"])
def test_unknown_source_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set.txt").write_text("text")

    with refused("no data at", name, "expected 'digits'"):
        data.load(name, "train")


def test_empty_folder_is_refused(tmp_path):
    with refused("no data in", tmp_path):
        data.load(str(tmp_path), "train")


def test_missing_split_of_class_folders_is_refused(tmp_path):
    source = write_classes(tmp_path, {"train/a": [pixels(1)[0]]})

    with refused("no data in", tmp_path):
        data.load(source, "test")


def test_images_without_labels_are_refused(tmp_path):
    source = write_idx(tmp_path / "set", pixels(), np.zeros(6, np.uint8))
    (tmp_path / "set" / "train-labels-idx1-ubyte").unlink()

    with refused("set has no train-labels-idx1-ubyte"):
        data.load(source, "train")


def test_set_without_images_is_refused(tmp_path):
    source = write_npz(tmp_path / "set.npz", train_x=pixels(0), train_y=np.zeros(0, int))

    with refused("train split", "set.npz", "holds no images"):
        data.load(source, "train")


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    """A named pipe would wait for ever for somebody to write."""
    (tmp_path / "set").mkdir()
    os.mkfifo(tmp_path / "set" / "train-images-idx3-ubyte")
    os.mkfifo(tmp_path / "set.npz")

    with refused("no data in"):
        data.load(str(tmp_path / "set"), "train")
    with refused("no data at"):
        data.load(str(tmp_path / "set.npz"), "train")
