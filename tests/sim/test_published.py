"""Published binary networks through the RTL, folded to the rates of their published accelerators."""

from pathlib import Path

import pytest
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.folder.generate import generate
from addax.hdl.folder.vectors import sample_vectors
from addax.models import data
from addax.quant.published import cnv_w1a1, lfc_w1a1
from addax.sim.cosim import simulate

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the published weights in ../shared/data")


def built(program, out, **target):
    return generate(program, fold(program, **target), out, vectors=sample_vectors(program, 1))


@pytest.mark.slow
@needs_data
def test_lfc_w1a1_takes_a_pixel_per_cycle(tmp_path):
    """Protects binary dense layers of a thousand neurons: input thresholds, wide beats, deep weight memories."""
    program = lfc_w1a1(SHARED / "pretrained_bnn" / "lfcW1A1_mnist_decoded.npz")
    build = built(program, tmp_path / "lfc", device="xc7z020", clock_mhz=200.0, fps=250_000)
    images = data.load(str(SHARED / "mnist"), "test").head(300)

    outcome = simulate(build, images.x)

    assert (outcome.mismatches, outcome.class_mismatches) == (0, 0)
    assert outcome.cycles_per_image == build.schedule.interval == 784
    assert outcome.cycles_first_image == build.schedule.latency


@pytest.mark.slow
@needs_data
def test_cnv_w1a1_keeps_the_published_rate(tmp_path):
    """3,052 images/s at 100 MHz are 32,768 cycles per image; also under stalls."""
    program = cnv_w1a1(SHARED / "pretrained_bnn" / "cnvW1A1_cifar10_decoded.npz")
    build = built(program, tmp_path / "cnv", device="xczu7ev", clock_mhz=100.0, fps=3052)
    images = data.load(str(SHARED / "cifar10" / "cifar10_lossless_train4000.npz"), "train").head(40)

    outcome = simulate(build, images.x)
    assert (outcome.mismatches, outcome.class_mismatches) == (0, 0)
    assert outcome.cycles_per_image == build.schedule.interval <= 32_768
    assert outcome.cycles_first_image == build.schedule.latency

    stalled = simulate(build, images.x[:10], stall=0.3, seed=3)
    assert (stalled.mismatches, stalled.class_mismatches) == (0, 0)
