"""Image files: what is written is read again; what is broken, foreign or old is refused in one line."""

import json
import re

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.common.tensors import HEADER
from addax.hdl.engine.compile.file import load_image, save_image
from addax.hdl.engine.compile.image import compiled
from addax.quant.files.archive import program_digest, save_program
from engine_networks import engine_program, small_plan
from safetensors import safe_open
from safetensors.numpy import save_file


@pytest.fixture(scope="module")
def image():
    return compiled(engine_program(3, bits=16), small_plan())


def changed(path, edit):
    """The file at ``path`` with ``edit(tensors, header)`` made to it."""
    with safe_open(path, framework="numpy") as archive:
        tensors = {name: archive.get_tensor(name).copy() for name in archive.keys()}  # noqa: SIM118  no mapping
        header = json.loads(archive.metadata()[HEADER])
    edit(tensors, header)
    save_file(tensors, path, {HEADER: json.dumps(header)})


def test_an_image_is_read_as_it_was_written(image, tmp_path):
    """Memory, places, commands and the Program; writing it again gives the same bytes."""
    save_image(tmp_path / "net.image", image)
    found = load_image(tmp_path / "net.image")

    assert np.array_equal(found.words, image.words)
    assert (found.plan, found.first, found.areas, found.reads) == (image.plan, image.first, image.areas, image.reads)
    assert program_digest(found.network.program) == program_digest(image.network.program)
    save_image(tmp_path / "again.image", found)
    assert (tmp_path / "again.image").read_bytes() == (tmp_path / "net.image").read_bytes()


def flip(tensors, header):
    tensors["memory"][10, 0] ^= 1


def remade(tensors, header):
    from addax.common.files import sha256_of

    flip(tensors, header)
    header["memory_sha256"] = sha256_of(tensors["memory"].tobytes())


@pytest.mark.parametrize(
    "edit, message",
    [
        (flip, "is a broken image: its memory is not what its manifest says"),
        (remade, "was made by another addax; make it again with 'addax compile'"),
        (lambda t, h: h.update(version=99), "has format version 99, this addax reads 3"),
        (lambda t, h: h.update(kind="checkpoint"), "is not an image for an engine; 'addax compile' makes one"),
        (lambda t, h: t.pop("memory"), "is not an image for an engine"),
        (lambda t, h: h["plan"].update(weight_bytes=4096), "is a broken image: its build is not that of its plan"),
        (lambda t, h: h.update(build="0" * 16), "is a broken image: its build is not that of its plan"),
        (lambda t, h: h["plan"].update(pin=5), "not a plan: pin of an engine must be"),
        (lambda t, h: h["program"]["graph"][1].update(op="Magic"), "is a broken image: unknown operation 'Magic'"),
    ],
)
def test_a_broken_image_is_refused(image, tmp_path, edit, message):
    path = tmp_path / "net.image"
    save_image(path, image)
    changed(path, edit)

    with pytest.raises(UserError, match=re.escape(message)):
        load_image(path)


def test_an_image_for_another_engine_says_where_the_engines_differ(image, tmp_path):
    """Before it is compiled anew, which takes long for large networks."""
    save_image(tmp_path / "net.image", image)
    assert load_image(tmp_path / "net.image", image.plan).first == image.first
    with pytest.raises(UserError, match=re.escape("net.image is for another engine, of weight_bytes 1024, not 4096")):
        load_image(tmp_path / "net.image", small_plan(weight_bytes=4096))
    with pytest.raises(UserError, match=re.escape("another engine, of levels 0, not 3")):
        load_image(tmp_path / "net.image", small_plan(levels=3))


def test_a_truncated_image_is_refused(image, tmp_path):
    save_image(tmp_path / "net.image", image)
    data = (tmp_path / "net.image").read_bytes()
    for size in (0, 7, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.image").write_bytes(data[:size])
        with pytest.raises(UserError, match=r"cut\.image"):
            load_image(tmp_path / "cut.image")


def test_another_file_is_no_image(tmp_path):
    save_program(tmp_path / "net.addax", engine_program(3, bits=16))
    with pytest.raises(UserError, match=re.escape("net.addax is not an image for an engine")):
        load_image(tmp_path / "net.addax")
    with pytest.raises(UserError, match="no file at"):
        load_image(tmp_path / "none.image")
