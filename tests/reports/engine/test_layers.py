"""How layers run: words and idle lanes add up to what the image reads and what the cycle model says."""

import pytest
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.compile.traffic import traffic_of
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.records import Stream
from addax.reports.engine.layers import layer_runs
from engine_networks import bottlenecks, engine_program, grouped_program, moving, small_plan, super_resolution

NETWORKS = {
    "pools": lambda: engine_program(7, bits=8), "residuals": lambda: engine_program(10, bits=8),
    "shuffle": lambda: super_resolution(3, bits=8), "groups": lambda: grouped_program(2, bits=8),
    "depthwise": lambda: bottlenecks(1), "moves": lambda: moving(1),
}  # fmt: skip


@pytest.fixture(scope="module", params=NETWORKS)
def image(request):
    return compiled(NETWORKS[request.param](), small_plan(feature_bytes=4096, depthwise=3))


def test_words_of_layers_are_those_of_the_commands(image):
    """Every stream: what layers are said to read is what stands in the list of commands; what they write, too."""
    moved, read = traffic_of(image), dict.fromkeys(Stream, 0)
    for command in image.reads:
        read[Stream(command["stream"])] += command["words"]

    assert sum(own.features for own in moved) == read[Stream.FEATURES]
    assert sum(own.weights for own in moved) == read[Stream.WEIGHTS]
    assert sum(own.residuals for own in moved) == read[Stream.RESIDUALS] + read[Stream.WIDE_RESIDUALS]
    assert sum(own.records for own in moved) == read[Stream.DESCRIPTORS] + read[Stream.WRITES]
    assert sum(own.results for own in moved) == sum(command["words"] for command in image.writes)


def test_products_and_idle_lanes_are_all_cycles(image):
    """No cycle without a cause, none with two; a pool has its own, and no layer beats its roof."""
    for run in layer_runs(image, predicted(image)):
        assert run.macs / run.lanes + sum(run.idle.values()) == pytest.approx(run.cycles)
        assert all(spent > 0 for spent in run.idle.values()), run.idle
        assert ("pools" in run.idle) == (run.mapping == "pool")
        assert run.macs == 0 or run.mapping != "pool"
        assert run.least <= run.cycles or run.starved == 0


def test_a_folded_stem_is_named():
    """What a person looks for who asks why the first layer takes as long as it does."""
    program = super_resolution(1, features=6)
    wide = small_plan(pin=16, pout=16, bits=8, feature_bytes=4096, weight_bytes=4096)
    images = [compiled(program, plan) for plan in (small_plan(), wide)]
    runs = [layer_runs(image, predicted(image)) for image in images]
    assert [own[0].mapping for own in runs] == ["plain", "folded stem"]
    assert all(run.mapping == "plain" for own in runs for run in own[1:])
