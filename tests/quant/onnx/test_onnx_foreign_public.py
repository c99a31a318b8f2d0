"""Public QONNX files, which a user would bring: they import unchanged and give qonnx' integers."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from addax.cli import main
from addax.common.errors import UserError
from addax.hdl.dataflow.stages import stages_of
from addax.quant.onnx.read import import_onnx
from addax.quant.program import Convolution, Flatten
from foreign import compared, pixels_for

SHARED = Path(__file__).parents[3] / ".." / "shared" / "data"
FILES = SHARED / "qonnx"
needs_files = pytest.mark.skipif(not FILES.is_dir(), reason="needs the public files in ../shared/data/qonnx")
pytestmark = needs_files


def mnist(count):
    raw = gzip.decompress((SHARED / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
    return np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 1, 28, 28)[:count]


def bits(count):
    return np.random.default_rng(0).integers(0, 2, (count, 600, 1, 1)).astype(np.uint8)


def test_tfc_gives_the_scores_of_qonnx():
    """Its domain has no operator set, its shape is computed, it flattens before its first quantiser."""
    program, found, expected = compared(FILES / "TFC_1W2A.onnx", pixels=mnist(60))

    assert np.abs(found - expected).max() <= 0.5 * program.steps[program.output]  # the file's scores are no integers
    assert np.array_equal(found.argmax(1), expected.argmax(1))
    kinds = [type(op) for op in program.ops]
    assert kinds.index(Flatten) == kinds.index(Convolution) - 1
    stages_of(program)


def test_a_tabular_network_gives_the_answers_of_qonnx():
    """600 inputs of -1 and +1, as the file annotates them, read by a dense layer without a quantiser."""
    program, found, expected = compared(FILES / "unsw_nb15-mlp-w2a2.onnx", pixels=bits(200), scale=2.0, offset=-1.0)

    assert np.array_equal(found, expected)
    assert "the network reads 2 * pixel - 1" in program.metadata["notes"]
    assert program.input.shape == (600, 1, 1)
    stages_of(program)


def test_a_super_resolution_gives_the_map_of_qonnx():
    program, found, expected = compared(FILES / "espcn_nn_resize_quant.onnx", pixels=pixels_for((3, 128, 128), 1))

    off = np.abs(found - expected) / program.steps[program.output]
    # No step of the Program stands elsewhere than in the file; but qonnx adds floats of 24 bits, and one value of its
    # first layer that they turn at a half moves what follows from it.
    assert "steps stand" not in program.metadata.get("notes", "")
    assert np.mean(off > 0.5) < 0.001 and off.max() < 4
    stages_of(program)


def test_a_network_without_quantisers_is_refused_clearly():
    with pytest.raises(UserError, match="the file has none, it is a network of real numbers"):
        import_onnx(FILES / "three_layer_bn_pytorch.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["TFC_1W2A", "unsw_nb15-mlp-w2a2"])
def test_public_classifiers_go_all_the_way(tmp_path, capsys, name):
    import json

    program, build = str(tmp_path / "n.addax"), str(tmp_path / "b")
    source = str(SHARED / "mnist")
    if name.startswith("unsw"):
        source = str(tmp_path / "bits.npz")
        np.savez(source, test_x=bits(20).reshape(20, 1, 1, 600), test_y=np.zeros(20, np.int64))

    assert main(["quantize", str(FILES / f"{name}.onnx"), "-o", program]) == 0
    assert main(["generate", program, "--fill", "-o", build]) == 0
    capsys.readouterr()
    assert main(["simulate", build, "--data", source, "--images", "20", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 20 and found["mismatches"] == 0
