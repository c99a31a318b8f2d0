"""The drivers of an engine, in C and in Python, on its RTL: scores are the golden model's, errors of hardware told."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.control import engine_map
from addax.hdl.engine.driver.codes import DriverError
from addax.hdl.engine.driver.driver import EngineDriver
from addax.hdl.folder.engine import generate_engine
from addax.quant import golden
from addax.sim.engine_port import MemorySetting, SimulatedEngine
from engine_c_driver import CDriver
from engine_networks import engine_program, small_plan

pytestmark = pytest.mark.slow
PLAN = small_plan()
IMAGE = compiled(engine_program(101, bits=16), PLAN)
PIXELS = np.random.default_rng(3).integers(0, 256, (2, *IMAGE.network.program.input.shape))
OUTPUT = IMAGE.network.output
EXPECTED = golden.run(IMAGE.network.program, PIXELS, trace=[OUTPUT]).tensors[OUTPUT]
DRIVERS = pytest.mark.parametrize("make", [CDriver, EngineDriver], ids=["C", "Python"])


@pytest.fixture(scope="module")
def build():
    with tempfile.TemporaryDirectory() as folder:
        yield generate_engine(PLAN, Path(folder, "build"))


@pytest.fixture
def port(build):
    """An engine whose memory stalls often, and may be read and written nowhere but in the image and its tensors."""
    engine = SimulatedEngine(build)
    engine.let(MemorySetting.LATENCY, 7)
    engine.let(MemorySetting.STALL, 30)
    engine.let(MemorySetting.HIGH, engine.origin + IMAGE.words.nbytes)
    engine.let(MemorySetting.WRITE_LOW, engine.origin + IMAGE.constants.nbytes)
    engine.let(MemorySetting.PER_ACCESS, 200)
    yield engine
    assert not engine.violations
    engine.close()


def opened(make, port):
    driver = make(PLAN, port, memory=port.origin, size=port.size)
    driver.load(IMAGE)
    return driver


@pytest.mark.guard
@DRIVERS
def test_an_image_is_loaded_run_and_read(make, port):
    """Protects the way to a board: what its software does gives the golden model's scores, from polls and from the
    interrupt."""
    driver = opened(make, port)
    driver.verify()
    assert np.array_equal(driver.run(PIXELS[0]), EXPECTED[0])

    driver.write_input(PIXELS[1])
    driver.start()
    cycles = port.advance(10**6, until_rest=True) + port.advance(2)
    assert port.interrupt and driver.handle_interrupt() and not port.interrupt
    driver.wait(1)
    assert np.array_equal(driver.tensor(), EXPECTED[1])
    assert 0 <= driver.cycles - cycles < 400, "but for those of the bus until `start` had come back"


@DRIVERS
@pytest.mark.parametrize("response", [2, 3], ids=["SLVERR", "DECERR"])
def test_errors_of_the_bus_have_their_codes_and_can_be_tried_again(response, make, port):
    """In the first beat, in the middle and at the end, of reads and of writes."""
    driver = opened(make, port)
    driver.run(PIXELS[0])
    reads, writes = port.beats
    port.let(MemorySetting.RESPONSE, response)
    for setting, beats, code in (
        (MemorySetting.FAIL_READ, reads, "READ_REFUSED"), (MemorySetting.FAIL_WRITE, writes, "WRITE_REFUSED"),
    ):  # fmt: skip
        for beat in (1, beats // 2, beats):
            port.let(setting, beat)
            with pytest.raises(DriverError) as found:
                driver.run(PIXELS[1])
            assert found.value.code == code, beat
            port.let(setting, 0)
            assert np.array_equal(driver.run(PIXELS[0]), EXPECTED[0])


@DRIVERS
def test_a_start_in_a_run_changes_nothing(make, port):
    """The driver refuses it; where another master of the bus does it, and moves the image, the hardware does."""
    driver = opened(make, port)
    driver.write_input(PIXELS[0])
    driver.start()
    with pytest.raises(DriverError) as found:
        driver.start()
    assert found.value.code == "RUNNING"
    registers = engine_map(PLAN)
    for name, value in (("base", 0), ("first", 1), ("control", 3)):
        port.write_register(registers[name].offset, value)
    assert port.read_register(registers["events"].offset) == registers["events"].field("busy").mask
    driver.wait(10**4)
    assert np.array_equal(driver.tensor(), EXPECTED[0])

    port.write_register(registers["control"].offset, 1)
    with pytest.raises(DriverError) as found:
        driver.start()
    assert found.value.code == "RUNNING", "somebody else has started it"
    port.advance(10**6, until_rest=True)


@DRIVERS
def test_a_run_that_is_late_ends_with_a_reset(make, port):
    """A memory that does not answer: the run is given up, and after a reset all is well."""
    driver = opened(make, port)
    driver.write_input(PIXELS[0])
    port.let(MemorySetting.LATENCY, 10**9)
    driver.start()
    with pytest.raises(DriverError) as found:
        driver.wait(5)
    assert found.value.code == "TIMEOUT"
    with pytest.raises(DriverError) as found:
        opened(make, port)
    assert found.value.code == "RUNNING"
    port.reset()
    port.let(MemorySetting.LATENCY, 7)
    driver = opened(make, port)
    assert np.array_equal(driver.run(PIXELS[0]), EXPECTED[0])


@DRIVERS
def test_another_engine_and_no_engine_are_told(make, port):
    """A driver for another build, and registers that are mapped elsewhere: nothing is written."""

    class Elsewhere:
        def read_register(self, offset):
            return port.read_register(offset + 0x100)

    for plan, where, code in ((small_plan(pixels=64), port, "OTHER_BUILD"), (PLAN, Elsewhere(), "NO_ENGINE")):
        with pytest.raises(DriverError) as found:
            make(plan, where, memory=port.origin, size=port.size)
        assert found.value.code == code


def test_what_is_not_simulated_is_refused_in_one_line(build, port):
    """Another bus, and memory that is not there."""
    with pytest.raises(UserError, match="only registers behind axi-lite are simulated with a driver, not wishbone"):
        SimulatedEngine(type(build)(path=build.path, plan=small_plan(control="wishbone"), prefix="addax"))
    with pytest.raises(UserError, match="are not in the memory of the simulated engine"):
        port.read_memory(port.origin + port.size, 1)
