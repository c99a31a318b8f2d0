"""What a network learns from: pictures that are read while it learns are the pictures that are held in memory."""

import numpy as np
import pytest
import torch
from addax.models.data import examples as module
from addax.models.data.examples import HeldExamples, StreamedExamples, examples
from image_files import pixels, refused, write_classes, write_idx

ORDER = [np.array([3, 0]), np.array([5, 1, 2]), np.array([4])]


def classes(tmp_path, **more):
    grey = pixels(6)
    return write_classes(tmp_path / "set" / "train", {"a": list(grey[:4]), "b": list(grey[4:]), **more})


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_pictures_are_those_in_memory(tmp_path, workers):
    classes(tmp_path)
    held = examples(tmp_path / "set", "train")
    streamed = examples(tmp_path / "set", "train", held_bytes=6 * 20 - 1, workers=workers)

    assert isinstance(held, HeldExamples) and isinstance(streamed, StreamedExamples)
    assert (len(held), held.shape, held.classes) == (len(streamed), streamed.shape, streamed.classes)
    for (x, y), (other_x, other_y) in zip(held.batches(ORDER), streamed.batches(ORDER), strict=True):
        assert torch.equal(x, other_x) and torch.equal(y, other_y)


def test_a_picture_is_read_when_its_batch_comes(tmp_path, monkeypatch):
    """Protects the bound of memory."""
    classes(tmp_path)
    streamed = examples(tmp_path / "set", "train", held_bytes=0, workers=0)
    read, original = [], module.read_image
    monkeypatch.setattr(module, "read_image", lambda path: read.append(path) or original(path))

    batches = iter(streamed.batches(ORDER))
    next(batches)

    assert len(read) == 2


def test_streaming_leaves_the_global_generator_alone(tmp_path):
    """Networks with dropout draw from it; where pictures lie must not change what is trained."""
    classes(tmp_path)
    before = torch.get_rng_state()

    list(examples(tmp_path / "set", "train", held_bytes=0, workers=1).batches(ORDER))

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("content", "message"), [(b"no picture", "cannot read image"), (pixels(1, 4, 4)[0], "sizes must agree")]
)
def test_a_file_that_cannot_be_used_is_named_whoever_reads_it(tmp_path, workers, content, message):
    classes(tmp_path, c=[content])
    streamed = examples(tmp_path / "set", "train", held_bytes=0, workers=workers)

    with refused(str(tmp_path / "set" / "train" / "c" / "0.npy"), message):
        list(streamed.batches([np.array([0, 6])]))


def test_splits_of_other_classes_are_refused(tmp_path):
    """Class indices are places in the alphabet, so one folder more would change them all."""
    classes(tmp_path)
    write_classes(tmp_path / "set" / "test", {"a": list(pixels(1)), "c": list(pixels(1))})

    for split in ("train", "test"):
        with refused("must have the same classes", "b, c"):
            examples(tmp_path / "set", split)


def test_an_empty_class_is_named(tmp_path):
    classes(tmp_path, c=[])

    with refused("class folder", "/c holds no images"):
        examples(tmp_path / "set", "train")


def test_pictures_of_another_shape_than_the_network_takes_are_refused_at_once(tmp_path):
    classes(tmp_path)

    with refused("are 1x4x5", "takes 3x4x5"):
        examples(tmp_path / "set", "train", shape=(3, 4, 5), held_bytes=0)


def test_everything_else_is_held(tmp_path):
    source = write_idx(tmp_path / "set", pixels(), np.arange(6, dtype=np.uint8))

    found = examples(source, "train", held_bytes=0)

    assert isinstance(found, HeldExamples) and found.classes == 6
