"""Damaged files of every format that is read: each is read or refused in one line, in bounded memory and time.

A seed makes the damage: bits flipped, pieces cut, repeated or taken out, numbers and values of JSON exchanged for
others, also of other types. A failure names its seed and how to have the file again.

``$ADDAX_FUZZ_MINUTES`` and ``$ADDAX_FUZZ_SEED`` say how long the slow tests take in all, and where their seeds begin:
`make fuzz` takes 20 minutes and other seeds each time.
"""

import copy
import functools
import gzip
import io
import json
import os
import random
import shutil
import struct
import time

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.hdl.dataflow.blocks import BLOCK_OF
from addax.hdl.dataflow.plan import Plan
from addax.hdl.dataflow.planning.complete import read_plan
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.folder.build import open_build
from addax.hdl.folder.generate import generate
from addax.hdl.folder.vectors import sample_vectors
from addax.models import data
from addax.models.files.checkpoint import Recipe, load_checkpoint, save_checkpoint
from addax.models.files.weights import read_weights
from addax.models.nets import zoo
from addax.quant import golden
from addax.quant.export import export
from addax.quant.files.archive import load_program, program_bytes
from addax.quant.files.npz import import_npz
from addax.quant.onnx.read import import_onnx
from addax.quant.qat.train import load_trained
from addax.quant.quantize import quantize, trace_program
from addax.reports.compare.headlines import headlines_document
from addax.sim.activity import read_saif
from limits import bounded_memory

SECONDS = 10
QUICK = 0.2
LONG = float(os.environ.get("ADDAX_FUZZ_MINUTES", 1.25)) * 60 / 15
"""Seconds per format, of which there are 15, in the normal tests and in the slow ones."""
LATE = int(os.environ.get("ADDAX_FUZZ_SEED", 1_000_000))
"""The first seed of the slow tests."""
ODD = (None, True, -1, 0, 3, 2**31, 2**63, 10**30, 1.5, 1e308, "", "conv1", "../x", [], [[]], {}, [1, 2], {"bits": 8})


@pytest.fixture(scope="module")
def program():
    return quantize("lenet5", kernel="adder", weights=None, bits=8, data_source="digits")


def bytes_changed(content, rng):
    """A few bits, bytes or pieces of ``content`` are others."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        if not changed:
            break
        at = rng.randrange(min(len(changed), rng.choice((64, 600, 10**9))))
        match rng.randrange(6):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del changed[at:]
            case 3:
                del changed[at : at + rng.randrange(1, 64)]
            case 4:
                changed[at:at] = changed[at : at + rng.randrange(1, 64)]
            case _:
                changed[at : at + 4] = rng.choice((b"\xff" * 4, bytes(4), b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f"))
    return bytes(changed)


def json_changed(value, rng):
    """One place of a JSON value is another, is gone, or is there twice."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2))):
        at = value
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(at[key], dict | list) and at[key] and rng.random() < 0.8:
                at = at[key]
                continue
            match rng.randrange(4):
                case 0:
                    del at[key]
                case 1 if isinstance(at, dict):
                    at[rng.choice(("colour", "name", "", "source"))] = at.pop(key)
                case 1:
                    at.append(at[key])
                case 2 if isinstance(at[key], int):
                    at[key] += rng.choice((-1, 1, 7, 2**20))
                case _:
                    at[key] = copy.deepcopy(rng.choice(ODD))
            break
    return value


def safetensors_changed(content, rng):
    """The header as JSON, ours inside as JSON, or bytes."""
    size = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    match rng.randrange(3):
        case 0:
            return bytes_changed(content, rng)
        case 1:
            header = json_changed(header, rng)
        case _:
            ours = header["__metadata__"]
            ours["addax"] = json.dumps(json_changed(json.loads(ours["addax"]), rng))
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def text_changed(content, rng):
    return (
        bytes_changed(content, rng)
        if rng.random() < 0.3
        else json.dumps(json_changed(json.loads(content), rng)).encode()
    )


def one_file(name, make, read, change=bytes_changed):
    """A format of one file: how a good one is made, how it is read."""

    def prepare(folder, context):
        content = make(folder, context)

        def attempt(rng):
            path = folder / name
            path.write_bytes(change(content, rng))
            read(path, context)

        (folder / name).write_bytes(content)
        read(folder / name, context)  # what is not damaged is read
        return attempt

    return prepare


def one_of_a_folder(make, read):
    """A format of several files, of which one is damaged."""

    def prepare(folder, context):
        make(folder / "good", context)
        read(folder / "good", context)

        def attempt(rng):
            shutil.rmtree(folder / "bad", ignore_errors=True)
            shutil.copytree(folder / "good", folder / "bad")
            path = rng.choice(sorted(p for p in (folder / "bad").rglob("*") if p.is_file()))
            change = text_changed if path.suffix == ".json" else bytes_changed
            if path.suffix == ".addax":
                change = safetensors_changed
            path.write_bytes(change(path.read_bytes(), rng))
            read(folder / "bad", context)

        return attempt

    return prepare


def run_program(path, context):
    loaded = load_program(path)
    if np.prod(loaded.input.shape) <= 4096:
        golden.run(loaded, np.zeros((1, *loaded.input.shape), np.uint8), threads=1)


def trace_of(path, context):
    images = data.load("digits", "test").head(2)
    loaded = load_program(path)
    if loaded.input.shape == images.shape:
        trace_program(loaded, images, source=None, weights=None, folder=path.parent)


def checkpoint_bytes(folder, context):
    recipe = Recipe(network="lenet5", kernel="adder", shape=(1, 16, 16), classes=10, data="digits", seed=0, epochs=1,
                    accuracy=0.5)  # fmt: skip
    save_checkpoint(folder / "made.safetensors", zoo.build("lenet5", kernel="adder"), recipe)
    return (folder / "made.safetensors").read_bytes()


def torch_bytes(folder, context):
    buffer = io.BytesIO()
    torch.save({"state_dict": {"a.weight": torch.ones(4, 3), "a.bias": torch.zeros(4)}, "epoch": 3}, buffer)
    return buffer.getvalue()


def npz_bytes(folder, context):
    buffer = io.BytesIO()
    x = np.random.default_rng(0).integers(0, 256, (6, 4, 5), dtype=np.uint8)
    np.savez_compressed(buffer, test_x=x, test_y=np.arange(6))
    return buffer.getvalue()


def make_idx(folder, context, pack=lambda content: content, suffix=""):
    folder.mkdir()
    x = np.random.default_rng(0).integers(0, 256, (6, 4, 5), dtype=np.uint8)
    images = struct.pack(">4I", 0x803, 6, 4, 5) + x.tobytes()
    (folder / f"t10k-images-idx3-ubyte{suffix}").write_bytes(pack(images))
    (folder / f"t10k-labels-idx1-ubyte{suffix}").write_bytes(pack(struct.pack(">2I", 0x801, 6) + bytes(6)))


def make_images(folder, context):
    from PIL import Image

    (folder / "c0").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, shape in (("0.png", (9, 8, 3)), ("1.bmp", (9, 8, 3)), ("2.gif", (9, 8, 3)), ("3.tiff", (9, 8, 3)),
                        ("4.jpeg", (9, 8, 3)), ("5.ppm", (9, 8, 3)), ("6.webp", (9, 8, 3))):  # fmt: skip
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / "c0" / name)
    np.save(folder / "c0" / "7.npy", rng.integers(0, 256, (9, 8, 3), dtype=np.uint8))


def plan_bytes(folder, program):
    return json.dumps(fold(program, device="ecp5-85k", clock_mhz=50.0, lanes=40).to_json()).encode()


def read_plans(path, program):
    """Completed and, where nothing is missing, as it is."""
    read_plan(path, program, device="ecp5-85k", clock_mhz=50.0)
    Plan.read(path)


def make_build(folder, program):
    plan = fold(program, device="ecp5-85k", clock_mhz=50.0, lanes=40)
    generate(program, plan, folder, vectors=sample_vectors(program, 1))


SAIF = b"""(SAIFILE
(SAIFVERSION "2.0")
(DURATION 1000)
(INSTANCE top
 (INSTANCE pipeline
  (NET
   (clk (T0 500) (T1 500) (TX 0) (TC 100))
   (valid (T0 500) (T1 500) (TX 0) (TC 7))
  )
  (INSTANCE stage_conv1
   (NET
    (acc\\[0\\] (T0 500) (T1 500) (TX 0) (TC 9))
   )
  )
 )
)
)
"""

COMPARISON = json.dumps({
    "terms": {"network": "lenet5", "device": "ecp5-85k", "bits": 8, "clock_mhz": 50.0},
    "claims": [{"claim": "adder: logic", "paper": "-81 %", "ours": "-24 %", "note": "arXiv 2101.10015, abstract"}],
}).encode()  # fmt: skip
FORMATS = {
    "addax": one_file("net.addax", lambda f, p: program_bytes(p), run_program, safetensors_changed),
    "trace": one_file("net.addax", lambda f, p: program_bytes(p), trace_of, safetensors_changed),
    "checkpoint": one_file("c.safetensors", checkpoint_bytes, lambda p, _: load_checkpoint(p), safetensors_changed),
    "trained": one_file("c.safetensors", checkpoint_bytes, lambda p, _: load_trained(p), safetensors_changed),
    "torch": one_file("c.pt", torch_bytes, lambda p, _: read_weights(p)),
    "plan": one_file("plan.json", plan_bytes, read_plans, text_changed),
    "npz": one_file("set.npz", npz_bytes, lambda p, _: data.load(str(p), "test")),
    "idx": one_of_a_folder(make_idx, lambda p, _: data.load(str(p), "test")),
    "idx.gz": one_of_a_folder(
        functools.partial(make_idx, pack=gzip.compress, suffix=".gz"), lambda p, _: data.load(str(p), "test")
    ),
    "images": one_of_a_folder(make_images, lambda p, _: data.load(str(p), "test")),
    "export": one_of_a_folder(lambda f, p: export(p, f, fmt="npz"), lambda p, _: import_npz(p)),
    "build": one_of_a_folder(make_build, lambda p, _: open_build(p)),
    "saif": one_file("a.saif", lambda f, p: SAIF, lambda p, _: read_saif(p, "pipeline", BLOCK_OF)),
    "comparison": one_file(
        "compare.json", lambda f, p: COMPARISON, lambda p, _: headlines_document(compared=p), text_changed
    ),
}


def qonnx_bytes(folder, program):
    export(program, folder / "onnx", fmt="qonnx")
    return next((folder / "onnx").glob("*.onnx")).read_bytes()


ONNX = one_file("net.onnx", qonnx_bytes, lambda p, _: import_onnx(p))


def attack(prepare, folder, program, seconds, seed):
    """Damage and read for ``seconds``; returns how often it was read and how often refused."""
    attempt = prepare(folder, program)
    outcomes = {"read": 0, "refused": 0}
    end = time.monotonic() + seconds
    with bounded_memory():
        while time.monotonic() < end or sum(outcomes.values()) < 5:
            begin = time.monotonic()
            outcomes[outcome(attempt, seed)] += 1
            assert time.monotonic() - begin < SECONDS, f"seed {seed} takes too long"
            seed += 1
    return outcomes


def outcome(attempt, seed):
    """What became of the file that ``seed`` damages."""
    try:
        attempt(random.Random(seed))
    except UserError as error:
        assert str(error) and "\n" not in str(error), f"seed {seed}"
        return "refused"
    except Exception as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    return "read"


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_read_or_refused(name, tmp_path, program):
    outcomes = attack(FORMATS[name], tmp_path, program, QUICK, seed=0)

    assert outcomes["refused"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_read_or_refused_for_long(name, tmp_path, program):
    """Other seeds than the quick test, for a minute in all."""
    outcomes = attack(FORMATS[name], tmp_path, program, LONG, seed=LATE)
    print(f"{name}: seeds from {LATE}, {outcomes}")

    assert outcomes["refused"] > 0


@pytest.mark.parametrize("seconds, seed", [(QUICK, 200), pytest.param(LONG, LATE, marks=pytest.mark.slow)])
def test_damaged_onnx_files_are_read_or_refused(seconds, seed, tmp_path, program):
    outcomes = attack(ONNX, tmp_path, program, seconds, seed)

    assert outcomes["refused"] > 0
