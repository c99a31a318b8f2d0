"""The drivers of an engine, in C and in Python: the same states and answers, on an engine that is not there."""

import re
import subprocess
import zlib

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.driver.codes import DRIVER_CODES, DriverError
from addax.hdl.engine.driver.driver import EngineDriver
from addax.hdl.engine.driver.flat import CHECKED, IMAGE_HEADER, flat_image
from addax.hdl.engine.driver.header import engine_driver, engine_header
from addax.hdl.engine.records import READ, WRITE, descriptor_record
from addax.quant import golden
from addax.quant.formats import signed, unsigned
from addax.quant.program import Flatten
from engine_c_driver import STRICT, CDriver
from engine_fake import MEMORY, FakeEngine
from engine_networks import small_plan
from network_builder import Builder

PLAN = small_plan(bits=8, pin=8, pout=8, burst=8)
DRIVERS = pytest.mark.parametrize("make", [CDriver, EngineDriver], ids=["C", "Python"])
OF_FILES = {"NO_IMAGE", "IMAGE_OF_OTHER_VERSION", "IMAGE_SHORT", "IMAGE_BROKEN"}
"""Codes of image files, which Python reads elsewhere."""


def network(*, classes=True):
    """A stem whose columns are folded, channels that fill no block; scores of several words, or a map with a sign."""
    b = Builder(np.random.default_rng(1), (2, 5, 6))
    b.varied = lambda op: op
    b.convolution("adder", 5, 3, 2, 1, 8)
    b.rescale(unsigned(8) if classes else signed(8))
    if not classes:
        return b.raw()
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("mult", 10, weight_bits=8)
    b.requantise(None, scores=True)
    return b.program()


IMAGE = compiled(network(), PLAN)
PIXELS = np.random.default_rng(2).integers(0, 256, IMAGE.network.program.input.shape)


def driven(make, *, plan=PLAN, limit=0, **changes):
    """A driver and the engine that it drives."""
    port = FakeEngine(plan)
    for name, value in changes.items():
        setattr(port, name, value)
    return make(plan, port, memory=MEMORY, size=len(port.memory), limit=limit), port


def ready(make, **changes):
    driver, port = driven(make, **changes)
    driver.load(IMAGE)
    driver.write_input(PIXELS)
    return driver, port


def expected(image, pixels):
    name = image.network.output
    return golden.run(image.network.program, pixels[None], trace=[name]).tensors[name][0]


@DRIVERS
def test_a_network_is_loaded_run_and_read(make):
    """Scores, then another picture, then a network with a map as its result: all equal to the golden model's."""
    driver, port = ready(make, looks=3, limit=12345)
    assert IMAGE.network.columns == 3, "the stem is folded"
    driver.start()
    driver.wait(10)
    assert np.array_equal(driver.tensor(), expected(IMAGE, PIXELS))
    assert driver.cycles == port.registers["cycles"]
    bounds = {name: port.registers[name] for name in ("words", "kept", "limit")}
    assert bounds == {"words": len(IMAGE.words), "kept": len(IMAGE.constants), "limit": 12345}

    other = PIXELS[:, ::-1, ::-1]
    assert np.array_equal(driver.run(other), expected(IMAGE, other))

    second = compiled(network(classes=False), PLAN, reuse=True)
    driver.load(second)
    driver.verify()
    assert np.array_equal(driver.run(PIXELS), expected(second, PIXELS))


@DRIVERS
@pytest.mark.parametrize("pin, pout", [(4, 8), (16, 4)])
def test_pixels_of_engines_with_unlike_sides_lie_in_words_of_the_larger(make, pin, pout):
    """What goes in and comes out is what the golden model has, also where lanes or rows take parts of words."""
    plan = small_plan(bits=8, pin=pin, pout=pout, burst=8)
    image = compiled(network(), plan)
    driver, _ = driven(make, plan=plan)
    driver.load(image)

    assert np.array_equal(driver.run(PIXELS), expected(image, PIXELS))


def at_the_end_of(make, error=0, **changes):
    driver, port = ready(make, error=error, **changes)
    driver.start()
    driver.wait(5)
    return driver, port


def changed_memory(make):
    driver, port = ready(make)
    port.memory[len(IMAGE.constants.tobytes()) // 2] ^= 4
    driver.verify()


def named(make, **registers):
    port = FakeEngine(PLAN)
    port.registers.update(registers)
    make(PLAN, port, memory=MEMORY, size=len(port.memory))


def small_memory(make):
    port = FakeEngine(PLAN)
    driver = make(PLAN, port, memory=MEMORY, size=IMAGE.words.nbytes - 1)
    driver.load(IMAGE)


def spoiled(**numbers):
    """The image with other numbers and a checksum that is right again."""

    def load(make):
        flat = flat_image(IMAGE)
        size = IMAGE_HEADER.bits // 8
        values = IMAGE_HEADER.unpack(int.from_bytes(flat[:size], "little"))
        head = IMAGE_HEADER.pack({**values, **numbers}).to_bytes(size, "little")
        flat = head + flat[size:]
        check = zlib.crc32(flat[CHECKED : max(CHECKED, numbers.get("bytes", len(flat)))])
        driven(make)[0].load_flat(flat[:4] + check.to_bytes(4, "little") + flat[CHECKED:])

    return load


SCENES = [
    ("NO_ENGINE", lambda make: named(make, magic=0xFFFFFFFF)),
    ("OTHER_VERSION", lambda make: named(make, map_version=1)),
    ("OTHER_BUILD", lambda make: named(make, build=5)),
    ("NO_ROOM", small_memory),
    ("NO_ROOM", lambda make: make(PLAN, FakeEngine(PLAN), memory=MEMORY + 8, size=1 << 20)),
    ("NO_ROOM", lambda make: make(PLAN, FakeEngine(PLAN), memory=0, size=(1 << 35) + 4096)),
    ("IMAGE_OF_OTHER_BUILD", lambda make: driven(make)[0].load(compiled(network(), small_plan()))),
    ("NO_IMAGE", spoiled(magic=7)),
    ("NO_IMAGE", lambda make: driven(make)[0].load_flat(b"ADX")),
    ("IMAGE_OF_OTHER_VERSION", spoiled(version=1)),
    ("IMAGE_SHORT", lambda make: driven(make)[0].load_flat(flat_image(IMAGE)[:-1])),
    ("IMAGE_SHORT", lambda make: driven(make)[0].load_flat(flat_image(IMAGE)[:20])),
    ("IMAGE_BROKEN", lambda make: driven(make)[0].load_flat(flat_image(IMAGE)[:-1] + b"\x55")),
    ("IMAGE_BROKEN", spoiled(bytes=40)),
    ("IMAGE_BROKEN", spoiled(loaded=1)),
    ("IMAGE_BROKEN", spoiled(memory_at=2**32 - 16)),
    ("IMAGE_BROKEN", spoiled(columns=2**31)),
    ("IMAGE_BROKEN", spoiled(input_channels=0)),
    ("IMAGE_BROKEN", spoiled(input_bits=33)),
    ("IMAGE_BROKEN", spoiled(stored_width=2**32 - 1)),
    ("IMAGE_BROKEN", spoiled(output_height=0)),
    ("IMAGE_BROKEN", spoiled(output_at=len(IMAGE.words) - 1)),
    ("IMAGE_BROKEN", spoiled(output_at=0)),
    ("IMAGE_BROKEN", spoiled(words=3)),
    ("IMAGE_BROKEN", spoiled(first=0)),
    ("ORDER", lambda make: driven(make)[0].write_input(PIXELS)),
    ("ORDER", lambda make: driven(make)[0].verify()),
    ("ORDER", lambda make: driven(make)[0].start()),
    ("ORDER", lambda make: driven(make)[0].poll()),
    ("ORDER", lambda make: ready(make)[0].tensor()),
    ("ORDER", lambda make: ready(make)[0].wait(3)),
    ("RUNNING", lambda make: again(make)),
    ("RUNNING", lambda make: driven(make, left=2)),
    ("RUNNING", lambda make: (lambda driver, port: (setattr(port, "left", 2), driver.start()))(*ready(make))),
    ("RUNNING", lambda make: ready(make, faster=True)[0].start()),
    ("SIZE", lambda make: ready(make)[0].write_input(PIXELS[:1])),
    ("VALUE", lambda make: ready(make)[0].write_input(PIXELS - 1 - PIXELS.min())),
    ("VALUE", lambda make: ready(make)[0].write_input(PIXELS + 256 - PIXELS.max())),
    ("REGISTERS", lambda make: ready(make, stuck=("base",))[0].start()),
    *(
        ("REGISTERS", lambda make, name=name: ready(make, limit=9, stuck=(name,))[0].start())
        for name in ("first", "words", "kept", "limit")
    ),
    ("CHANGED", changed_memory),
    ("READ_REFUSED", lambda make: at_the_end_of(make, error=1)),
    ("WRITE_REFUSED", lambda make: at_the_end_of(make, error=2)),
    ("OUTSIDE", lambda make: at_the_end_of(make, error=3)),
    ("LATE", lambda make: at_the_end_of(make, error=4)),
    ("UNKNOWN", lambda make: at_the_end_of(make, error=7)),
    ("TIMEOUT", lambda make: at_the_end_of(make, looks=5)),
]
"""What goes wrong, and the code that tells."""


def again(make):
    """Whatever is asked of an engine that runs is refused, but to wait."""
    driver, _ = ready(make, looks=20)
    driver.start()
    for refused in (driver.verify, driver.tensor, lambda: driver.load(IMAGE), lambda: driver.write_input(PIXELS)):
        with pytest.raises(DriverError) as found:
            refused()
        assert found.value.code == "RUNNING"
    driver.start()


TRIED = [
    pytest.param(code, scene, make, id=f"{code}-{make.__name__}-{k}")
    for k, (code, scene) in enumerate(SCENES)
    for make in ([CDriver] if code in OF_FILES else [CDriver, EngineDriver])
]


@pytest.mark.parametrize("code, scene, make", TRIED)
def test_what_goes_wrong_has_a_code_and_one_line(code, scene, make):
    """Protects whoever drives an engine from going on with what is not there: each error of the hardware, of images,
    and of the order of things."""
    with pytest.raises(DriverError) as found:
        scene(make)
    assert found.value.code == code
    assert DRIVER_CODES[code] in str(found.value) and "\n" not in str(found.value)


def test_every_code_has_a_scene():
    """A code that nothing raises is one that nobody has tried."""
    assert {code for code, _ in SCENES} == set(DRIVER_CODES) - {"OK", "BUSY"}


@DRIVERS
def test_a_run_that_failed_or_was_late_can_be_tried_again(make):
    """After an error the input still stands there; a run that was late is waited for again."""
    driver, port = ready(make, error=1)
    driver.start()
    with pytest.raises(DriverError):
        driver.wait(2)
    port.error, port.looks = 0, 4
    driver.start()
    with pytest.raises(DriverError) as late:
        driver.wait(2)
    assert late.value.code == "TIMEOUT"
    driver.wait(9)
    assert np.array_equal(driver.tensor(), expected(IMAGE, PIXELS))


@DRIVERS
def test_the_interrupt_ends_a_run_and_is_taken_back(make):
    """The line is up until the handler takes it; one of another device is not ours; `wait` tells what the handler
    found, also a failure."""
    driver, port = ready(make, looks=50)
    driver.start()
    assert not driver.handle_interrupt(), "of another device"
    assert port.finish()
    assert driver.handle_interrupt() and not port.irq
    assert not driver.handle_interrupt()
    driver.wait(1)
    assert np.array_equal(driver.tensor(), expected(IMAGE, PIXELS))

    port.error = 2
    driver.start()
    port.finish()
    assert driver.handle_interrupt()
    with pytest.raises(DriverError) as found:
        driver.wait(1)
    assert found.value.code == "WRITE_REFUSED"


def test_the_c_driver_pauses_between_looks_and_reads_files_with_bytes_behind_them():
    """An image in a partition of flash is followed by whatever was there; a processor may sleep while it waits."""
    driver, _ = driven(CDriver, looks=3)
    driver.load_flat(flat_image(IMAGE) + b"\xff" * 100)
    driver.write_input(PIXELS)
    driver.start()
    driver.wait(10)
    assert driver.pauses == 3
    with pytest.raises(DriverError) as found:
        driver.read_output(np.zeros(9, np.int64))
    assert found.value.code == "SIZE"


def places(text, name):
    """Lowest bit and bits of each field of a record, as a header defines them."""
    found = dict(re.findall(rf"^#define NET_{name}_(\w+_(?:AT|BITS)) (\d+)u", text, re.MULTILINE))
    return {
        field[:-3].lower(): (int(at), int(found[f"{field[:-3]}_BITS"])) for field, at in found.items()
        if field.endswith("_AT")
    }  # fmt: skip


@pytest.mark.parametrize("name, record", [("READ_COMMAND", READ), ("WRITE_COMMAND", WRITE), ("DESCRIPTOR", None)])
def test_the_header_says_where_the_fields_of_records_lie(name, record):
    """Read with nothing but the header's numbers, the first record of an image is the compiler's."""
    record = record or descriptor_record(PLAN)
    values = {"READ_COMMAND": IMAGE.reads, "WRITE_COMMAND": IMAGE.writes, "DESCRIPTOR": IMAGE.descriptors}[name][0]
    number = record.pack(values)
    fields = places(engine_header(PLAN, "net"), name)
    signed_fields = {field.name for field in record.fields if field.signed}

    assert list(fields) == [field.name for field in record.fields]
    for field, (at, bits) in fields.items():
        raw = number >> at & (1 << bits) - 1
        assert raw - (1 << bits if field in signed_fields and raw >> bits - 1 else 0) == values[field], field


@pytest.mark.parametrize("control", ["wishbone", "none"])
def test_header_and_driver_compile_as_c_and_as_c_plus_plus(control, tmp_path):
    """As strictly as compilers can, also of an engine with every record; without registers there is no driver."""
    plan = small_plan(control=control, slopes=True, levels=3, product=True, tables=8, depthwise=3)
    (tmp_path / "net.h").write_text(engine_header(plan, "net"))
    text = '#include "net.h"\n#include "net.h"\nint main(void) { return NET_LEVELS_TAKES == 0u; }\n'
    (tmp_path / "main.c").write_text(text)
    sources = ["main.c"]
    if control != "none":
        (tmp_path / "net_driver.c").write_text(engine_driver(plan, "net"))
        sources.append("net_driver.c")
    for compiler in (["gcc", "-std=c99"], ["g++", "-x", "c++", "-std=c++17"]):
        command = [*compiler, *STRICT, "-o", "main", *sources]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert subprocess.run([tmp_path / "main"], check=False).returncode == 0


@pytest.mark.parametrize("limit", [-1, 1 << 32])
def test_a_limit_that_the_register_does_not_hold_is_refused(limit):
    """In C the type says so."""
    with pytest.raises(UserError, match="limit must be 0 to 4,294,967,295 cycles, not"):
        driven(EngineDriver, limit=limit)
