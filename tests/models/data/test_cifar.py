"""CIFAR-10 as its authors distribute it: pickles that are read as data, and never run."""

import pickle
import struct

import numpy as np
import pytest
from addax.models import data
from addax.models.data.pickles import read_pickle
from image_files import refused

ROW = 3 * 32 * 32


def python2_batch(x, y):
    """What Python 2 and an old numpy wrote: strings of bytes, an array that is reconstructed and given its state."""
    rows, columns = x.shape
    return b"".join(
        [
            b"\x80\x02}q\x01(U\x06labelsq\x02]q\x03(", *(b"K" + bytes([label]) for label in y), b"eU\x04dataq\x04",
            b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85q\x07U\x01b\x87q\x08Rq\x09",
            b"(K\x01M", struct.pack("<H", rows), b"M", struct.pack("<H", columns), b"\x86",
            b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            b"\x89T", struct.pack("<I", x.size), x.tobytes(), b"tbU\x0bbatch_labelU\x04testu.",
        ]
    )  # fmt: skip


def rows(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, ROW), dtype=np.uint8), rng.integers(0, 10, count).tolist()


def write_batches(folder, count=3):
    folder.mkdir(parents=True)
    names = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]
    made = {name: rows(count, seed) for seed, name in enumerate(names)}
    for name, (x, y) in made.items():
        (folder / name).write_bytes(python2_batch(x, y))
    return made


def test_batches_follow_each_other_and_channels_come_first(tmp_path):
    made = write_batches(tmp_path / "cifar-10-batches-py")

    for source in (tmp_path, tmp_path / "cifar-10-batches-py"):
        train, test = data.load(source, "train"), data.load(source, "test")
        assert train.x.shape == (15, 3, 32, 32) and test.x.shape == (3, 3, 32, 32)
        assert np.array_equal(train.x[3:6].reshape(3, ROW), made["data_batch_2"][0])
        assert test.y.tolist() == made["test_batch"][1]


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_python_3_writes_is_read_alike(protocol):
    x, y = rows(2)

    value = read_pickle(pickle.dumps({"data": x, "labels": y, "more": (1, None, True, 2.5)}, protocol=protocol))

    assert np.array_equal(value["data"], x)
    assert (value["labels"], value["more"]) == (y, (1, None, True, 2.5))


class Intruder:
    def __reduce__(self):
        import os

        return os.mkdir, ("intruder",)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_nothing_in_a_pickle_is_run(tmp_path, monkeypatch, protocol):
    """The way in which pickles attack: a call of any function, here one that would leave a folder."""
    monkeypatch.chdir(tmp_path)
    write_batches(tmp_path / "set")
    (tmp_path / "set" / "data_batch_3").write_bytes(pickle.dumps({b"data": Intruder()}, protocol=protocol))

    with refused("cannot read CIFAR-10 batch", "data_batch_3", "mkdir"):
        data.load("set", "train")

    assert not (tmp_path / "intruder").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (python2_batch(*rows(2))[:-400], "cannot read CIFAR-10 batch"),
        (b"\x00\x01", "cannot read CIFAR-10 batch"),
        (b"", "cannot read CIFAR-10 batch"),
        (pickle.dumps({"labels": [1]}, protocol=2), "its data must be an array"),
        (pickle.dumps({"data": np.zeros((2, ROW), np.float32), "labels": [1, 2]}, protocol=2), "'f4', not of unsigned"),
        (python2_batch(rows(2)[0], [1]), "its labels must be 2 integers"),
        (python2_batch(rows(2)[0], [1, 10]), "holds a label 10; those of CIFAR-10 are 0..9"),
    ],
)
def test_a_broken_batch_is_named(tmp_path, content, message):
    write_batches(tmp_path / "set")
    (tmp_path / "set" / "test_batch").write_bytes(content)

    with refused("test_batch", message):
        data.load(tmp_path / "set", "test")


def test_a_missing_batch_is_named(tmp_path):
    write_batches(tmp_path / "set")
    (tmp_path / "set" / "data_batch_4").unlink()

    with refused("has no data_batch_4"):
        data.load(tmp_path / "set", "train")
    assert len(data.load(tmp_path / "set", "test")) == 3


def test_every_prefix_and_every_changed_byte_of_a_pickle_is_a_value_or_a_value_error():
    """Protects against a reader that ends in anything else on damaged data."""
    good = pickle.dumps({"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [1, 2]}, protocol=2)
    broken = [good[:k] for k in range(len(good))]
    broken += [good[:k] + bytes([byte]) + good[k + 1 :] for k in range(len(good)) for byte in (0, 41, 82, 98, 255)]
    for content in broken:
        try:
            read_pickle(content)
        except ValueError as error:
            assert str(error)
