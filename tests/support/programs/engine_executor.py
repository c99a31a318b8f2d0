"""A second executor of an engine's memory image, in plain numpy: what the RTL must do to memory, word by word.

It reads commands and descriptors out of the words alone, so that the image is what is tested, and knows no cycles: a
queue is filled when somebody takes from it. It shares record and constants tables with the compiler, nothing else.
"""

from collections import deque
from math import isqrt

import numpy as np
from addax.hdl.engine.compile.asked import asked_by
from addax.hdl.engine.cycles.transfers import is_skipped
from addax.hdl.engine.plan import SHIFT_STEP
from addax.hdl.engine.records import (
    READ,
    SKIP,
    WRITE,
    Across,
    Stream,
    Unit,
    constants_record,
    descriptor_record,
    further_records,
)
from addax.hdl.engine.vector.widths import NormWidths
from addax.quant import golden


class LateError(AssertionError):
    """A command that waits for a write that only something behind it could bring about."""


class Executor:
    """Runs one image on ``words`` (N, bytes), which it changes."""

    def __init__(self, plan, words, first):
        self.plan = plan
        self.words = words
        self.queues = {stream: deque() for stream in Stream}
        self.runs_done = 0
        self.pending = deque()
        self.marks, self.skipped = [], 0
        self.sums = {}
        self.read({"stream": Stream.COMMANDS, "address": 0, "words": first, "wait": 0})

    def read(self, command):
        self.check(command)
        assert command["words"], "a command of no words ends a run"
        at, stream = command["address"], Stream(command["stream"])
        stream = Stream.RESIDUALS if stream is Stream.WIDE_RESIDUALS else stream
        self.queues[stream].extend(self.words[at : at + command["words"]].copy())

    def take(self, stream, count):
        """(count, bytes) words, for which as many commands are carried out as it takes."""
        queue = self.queues[stream]
        while len(queue) < count:
            command = self.record(READ, Stream.COMMANDS)
            if self.skipped and command["stream"] != Stream.COMMANDS:
                self.skipped -= 1
            elif command["stream"] == Stream.SKIP:
                self.skip(command)
            else:
                self.read(command)
        return np.stack([queue.popleft() for _ in range(count)]) if count else np.zeros((0, self.plan.word_bytes), "u1")

    def record(self, kind, stream):
        words = self.take(stream, kind.words(self.plan.word_bits))
        return kind.joined([int.from_bytes(word.tobytes(), "little") for word in words], self.plan.word_bits)

    def check(self, command):
        """That what ``command`` waits for is done: writes, and those that were skipped, which count behind them."""
        queue, words = self.queues[Stream.WRITES], WRITE.words(self.plan.word_bits)
        while len(queue) >= words:
            text = [int.from_bytes(queue[k].tobytes(), "little") for k in range(words)]
            if (stands := WRITE.joined(text, self.plan.word_bits))["stride"]:
                break
            self.record(WRITE, Stream.WRITES)
            self.runs_done += stands["address"]
        if command["wait"] > self.runs_done:
            raise LateError(f"{command} waits, {self.runs_done} writes are done")

    def skip(self, command):
        self.check(command)
        skip = SKIP.unpack(command["address"])
        bands = self.marks[skip["first"] :][: skip["bands"] + 1]
        assert len(bands) == skip["bands"] + 1
        if any(skip["number"] in numbers for numbers in bands) == skip["where"]:
            self.skipped = command["words"]

    def elements(self, words):
        """(words, channels of a word) without sign."""
        return np.ascontiguousarray(words).view(f"<u{self.plan.bits // 8}").astype(np.int64)

    def run(self):
        """Until the last descriptor; returns how many there were."""
        count, last = 0, False
        while not last:
            layer = self.record(descriptor_record(self.plan), Stream.DESCRIPTORS)
            Layer(self, layer).run()
            count, last = count + 1, layer["last"]
        left = {stream.name: len(queue) for stream, queue in self.queues.items() if queue}
        assert not left, f"words left over: {left}"
        return count

    def write(self, words):
        """Results (words, bytes) of a block, where the next write commands say."""
        while len(words):
            command = self.record(WRITE, Stream.WRITES)
            if command["stride"] == 0:
                self.runs_done += command["address"]
                continue
            count = command["words"]
            assert 0 < count <= len(words), (command, len(words))
            self.words[command["address"] + command["stride"] * np.arange(count)] = words[:count]
            words = words[count:]
            self.runs_done += 1


class Layer:
    """The loops of one descriptor."""

    def __init__(self, executor, values):
        self.executor = executor
        self.values = values
        self.plan = executor.plan

    def run(self):
        bands = self.values["bands"]
        for band in range(bands):
            which = "first" if band == 0 else "final" if band == bands - 1 else "middle"
            self.band(which, self.values["top"] if band == 0 else 0)

    def band(self, which, top):
        v = self.values
        rows, taken = v[f"rows_{which}"], v[f"taken_{which}"]
        assert v[f"pixels_{which}"] == rows * v["columns"] <= self.plan.pixels
        assert v[f"chunk_{which}"] == taken * v["width"]
        self.begins, self.made = which == "first", []
        if v.get("norm"):
            self.norm(rows * v["columns"])
        elif v.get("softmax"):
            for _ in range(v.get("groups", 1)):
                self.softmax(rows * v["columns"])
        elif v["unit"] == Unit.ARRAY and not v.get("depthwise"):
            for self.head in range(v.get("groups", 1)):
                self.group(rows, taken, top)
        else:
            for self.head in range(1 if v["unit"] == Unit.ARRAY else v.get("groups", 1)):
                self.apart(rows, taken, top, v["groups"] if v["unit"] == Unit.ARRAY else v["in_blocks"])

    def chunk(self, taken):
        """(rows, columns, channels of a word)."""
        words = self.executor.take(Stream.FEATURES, taken * self.values["width"])
        return self.values_of(words).reshape(taken, self.values["width"], -1)

    def group(self, rows, taken, top):
        """Blocks of outputs that read the same blocks of inputs, each of which is a part of a word."""
        v, pin, chunks = self.values, self.plan.pin, []
        parts = self.plan.channels // pin
        for block in range(v["out_blocks"]):
            total = 0
            for k in range(v["in_blocks"]):
                if block == 0 and k % parts == 0:
                    chunks.append(self.chunk(taken))
                pad = self.values_of(self.executor.take(Stream.WEIGHTS, v["padded"]))
                windows = self.windows(chunks[k // parts], pad, rows, top)
                mine = windows[..., k % parts * pin :][..., :pin]
                part, constants = self.sums(mine, last=k == v["in_blocks"] - 1)
                total = total + part
            self.store(total, constants, last=block == v["out_blocks"] - 1)

    def apart(self, rows, taken, top, blocks):
        """Blocks of rows each of which reads a channel of its own."""
        v, pout = self.values, self.plan.pout
        parts = self.plan.channels // pout
        for block in range(blocks):
            if block % parts == 0:
                chunk = self.chunk(taken)
            pad = self.values_of(self.executor.take(Stream.WEIGHTS, v["padded"]))
            first = block % parts * pout
            if v["unit"] == Unit.ARRAY:
                windows = self.rows(chunk[..., first:][..., :pout], pad[..., first:][..., :pout], rows, top)
                total, constants = self.sums(windows, last=True)
            else:
                constants = self.constants()
                total = self.pooled(self.windows(chunk, pad, rows, top) + (v["signed"] << self.plan.bits - 1), first)
            if v.get("resumes"):
                total = total + self.executor.sums.pop(block)
            if v.get("keeps"):
                assert len(total) == 1 and block < self.plan.pixels
                self.executor.sums[block] = total
            else:
                self.store(total, constants, last=block == blocks - 1)

    def norm(self, pixels):
        """All blocks of tokens, the first time for their sums, the second time block by block for results."""
        v, chunks = self.values, []
        for _ in range(v["in_blocks"]):
            chunk = self.values_of(self.executor.take(Stream.FEATURES, pixels))
            (powers,) = self.executor.elements(self.executor.take(Stream.WEIGHTS, 1))
            chunks.append(chunk << powers)
        x = np.concatenate(chunks, axis=1).astype(object)
        total, count = x.sum(1, keepdims=True), v["channels"]
        variance = count * (x * x).sum(1, keepdims=True) - total**2
        under = [(value << 2 * v["fraction"]) + v["eps"] for value in variance[:, 0].tolist()]
        inverse = np.array([(1 << v["digits"] - 1) // max(isqrt(value), 1) for value in under], object)[:, None]
        point = NormWidths.of(self.plan).point
        whole = (count * x - total) * inverse << v["places"] - v["digits"] >> point
        for chunk in np.split(whole.astype(np.int64), v["in_blocks"], axis=1):
            self.executor.take(Stream.WEIGHTS, 1)
            self.store(chunk, self.constants(), last=True)

    def softmax(self, pixels):
        """All blocks of a head, the first time for the largest score of each token, the second time for results."""
        chunks, seen = [], []
        for _ in range(self.values["in_blocks"]):
            chunks.append(self.values_of(self.executor.take(Stream.FEATURES, pixels)))
            (counts,) = self.executor.elements(self.executor.take(Stream.WEIGHTS, 1))
            seen.append(np.where(counts & 1, chunks[-1], np.iinfo(np.int64).min))
        largest = np.concatenate(seen, axis=1).max(1, keepdims=True)
        for chunk in chunks:
            self.executor.take(Stream.WEIGHTS, 1)
            self.store(largest - chunk, self.constants(), last=True)

    def pooled(self, taps, first):
        """(pixels, pout) from channel ``first`` on of taps that count from the lowest value."""
        own = taps[..., first:][..., : self.plan.pout]
        if self.values["unit"] != Unit.CHOICE:
            return own.max(0) if self.values["unit"] == Unit.MAXIMUM else own.sum(0)
        number = (taps[0, :, 0] & (1 << self.plan.bits - 1) - 1).clip(0, len(taps) - 2)
        return own[1 + number, np.arange(len(number))]

    def values_of(self, words):
        values = self.executor.elements(words)
        sign = self.values["signed"] << self.plan.bits - 1
        return (values ^ sign) - sign

    def windows(self, chunk, pad, rows, top):
        """(taps, pixels, channels of a word)."""
        v = self.values
        result = []
        for ky in range(v["kernel_rows"]):
            for kx in range(v["kernel_columns"]):
                tap = []
                for y in range(rows):
                    for x in range(v["columns"]):
                        row = y * v["stride_rows"] + ky * v["dilation_rows"] - top
                        column = x * v["stride_columns"] + kx * v["dilation_columns"] - v["left"]
                        inside = 0 <= row < len(chunk) and 0 <= column < v["width"]
                        tap.append(chunk[row, column] if inside else pad[0])
                result.append(tap)
        return np.array(result)

    def rows(self, chunk, pad, rows, top):
        """(taps, pixels, pout, pin): words of rows one behind the other, of which the last ones meet in the lanes."""
        v, result = self.values, []
        for ky in range(v["kernel_rows"]):
            for kx in range(v["kernel_columns"]):
                words, tap = deque(maxlen=self.plan.depthwise), []
                kept = v["lead"] + 1 if kx else v["kept"]
                for y in range(rows):
                    shared = v["shared"] if y else 0
                    row, missing = y * v["stride_rows"] + ky * v["dilation_rows"] - top, v["lead"] - shared
                    for number in range(missing + (v["columns"] - 1) * (v["between"] + 1) + 1):
                        column = kx * v["dilation_columns"] - v["left"] + shared + number * v["stride_columns"]
                        inside = 0 <= row < len(chunk) and 0 <= column < v["width"]
                        words.appendleft(chunk[row, column] if inside else pad[0] if len(pad) else chunk[0, 0])
                        if number >= missing and (number - missing) % (v["between"] + 1) == 0:
                            tap.append(self.own_features([*words][:kept]))
                result.append(tap)
        return np.array(result)

    def own_features(self, words):
        """(pout, pin): row k has channel k of each word, then zeros as they are stored, then those of the lanes."""
        kernel = self.plan.kernels[self.values["kernel"]]
        lowest = -(self.values["signed"] << self.plan.bits - 1) if kernel == "adder" else 0
        lanes = np.full((self.plan.pout, self.plan.pin), lowest)
        lanes[:, : self.plan.depthwise] = 0
        lanes[:, : len(words)] = np.stack(words, axis=1)
        return lanes

    def sums(self, windows, last):
        """(pixels, pout) of all taps, and the constants that stand in front of the last one."""
        plan, constants, total = self.plan, None, 0
        for k, pixels in enumerate(windows):
            if last and k == len(windows) - 1:
                constants = self.constants()
            words = self.executor.take(Stream.WEIGHTS, plan.pin * plan.pout // plan.channels)
            own = self.executor.elements(words).reshape(plan.pout, plan.pin)
            own = own.T if self.values.get("turned") else own
            total = total + self.terms(pixels, own ^ self.values.get("inverted", 0) << plan.bits - 1)
        return total, constants

    def terms(self, x, w):
        """(pixels, pout) of features (pixels, pin), or (pixels, pout, pin) where each row has its own."""
        kernel, bits = self.plan.kernels[self.values["kernel"]], self.plan.bits
        x = x if x.ndim == 3 else x[:, None]
        if kernel == "adder":
            lowest = -(1 << bits - 1) if self.values["signed"] else 0
            return np.abs(x - lowest - w[None]).sum(2)
        if kernel == "xnor":
            return (x & 1 == w[None] & 1).sum(2)
        if kernel == "shift":
            w = np.where(w & 7, (1 - 2 * (w >> 3 & 1)) << np.maximum((w & 7) - 1, 0), 0)
        else:
            w = (w ^ 1 << bits - 1) - (1 << bits - 1)
        return (x * w[None]).sum(2)

    def constants(self):
        """Of every channel the fields of its constants; those of a second slope are called ``second_multiplier``, ..,
        levels are a list."""
        v = self.values
        if v.get("table") and (self.begins or v["own_tables"]):
            self.table = self.executor.elements(self.executor.take(Stream.WEIGHTS, v["table"]))[:, : self.plan.pout].T
        self.begins = False
        further = [(name, record) for name, record in further_records(self.plan).items() if v[name]]
        channels = [{} for _ in range(self.plan.pout)]
        for name, record in (*further, (None, constants_record(self.plan))):
            elements = self.executor.elements(self.executor.take(Stream.WEIGHTS, record.words(self.plan.bits)))
            for channel, own in zip(channels, elements.T[: self.plan.pout], strict=True):
                fields = record.joined([int(e) for e in own], self.plan.bits)
                if name == "levels":
                    channel["levels"] = list(fields.values())
                else:
                    channel.update({(f"second_{key}" if name else key): value for key, value in fields.items()})
        return channels

    def store(self, total, constants, last):
        """Results of a block of rows; they are written when their words are whole, or there is no other block."""
        v, plan = self.values, self.plan

        def of(name):
            return np.array([c[name] for c in constants])

        s, r = of("shift"), of("residual_multiplier")
        if v.get("product"):
            factor = self.residuals(1 if v["hold"] else len(total)) - (v["residual_signed"] << plan.bits - 1)
            total = (total - (v["signed"] << plan.bits - 1)) * factor
        wide = total * of("multiplier") + of("offset")
        if v.get("slopes"):
            wide = np.where(total < of("second_knee"), total * of("second_multiplier") + of("second_offset"), wide)
        if v["residual"] and not v.get("product"):
            joins = self.residuals(len(total))
            if v.get("divides"):
                joins = np.maximum(joins[:, self.head % plan.pout, None], 1)
            wide = wide + joins * r
        else:
            assert not r.any(), "the hardware adds whatever stands in its queue"
        y = wide >> SHIFT_STEP * s
        if v.get("ties_even"):
            y &= ~(wide == y << SHIFT_STEP * s).astype(int)
        if v.get("divides"):
            assert (y == np.clip(y, plan.result.lo, plan.result.hi)).all(), "the hardware clamps what it divides"
            y //= joins
        y = np.clip(y, v["low"], v["high"])
        if v.get("levels"):
            y = (y[..., None] >= of("levels")).sum(-1)
        if v.get("table"):
            y = np.take_along_axis(self.table.T, y, axis=0)
        if v.get("across"):
            found = y.argmax(1) if v["across"] == Across.NUMBER else y.max(1)
            y = np.zeros_like(y)
            y[:, 0] = found
            if v.get("marks"):
                self.executor.marks.append(set(found.tolist()))
        parts = [y >> k * plan.bits & ((1 << plan.bits) - 1) for k in range(v["result_words"])]
        elements = np.stack(parts, axis=1).astype(f"<u{plan.bits // 8}")
        self.made.append(elements)
        if last or len(self.made) == plan.channels // plan.pout:
            whole = np.zeros((*elements.shape[:2], plan.channels), elements.dtype)
            whole[..., : len(self.made) * plan.pout] = np.concatenate(self.made, axis=2)
            self.executor.write(whole.reshape(-1, plan.channels).view("u1"))
            self.made = []

    def residuals(self, pixels):
        """(pixels, pout), counted from the lowest value."""
        v, bits = self.values, self.plan.bits
        words = self.executor.elements(self.executor.take(Stream.RESIDUALS, pixels * v["residual_words"]))
        parts = words.reshape(pixels, v["residual_words"], -1)
        parts = parts[..., len(self.made) * self.plan.pout :][..., : self.plan.pout]
        value = sum(parts[:, k] << k * bits for k in range(v["residual_words"]))
        return value ^ v["residual_signed"] << v["residual_words"] * bits - 1


def executed(image, pixels):
    """The memory of ``image``, a `compile.image.Compiled`, after one (C, H, W) image."""
    words = image.with_input(pixels)
    found = Executor(image.plan, words, image.first).run()
    assert found == len(image.descriptors) - sum(is_skipped(s.skip, asked_by(image, pixels)) for s in image.segments)
    return words


def assert_golden(image, pixels, words):
    """Every tensor that ``words`` of memory hold after a run on ``pixels`` is that of the golden model."""
    expected = golden.run(image.network.program, pixels[None], trace=True).tensors
    asked = asked_by(image, pixels)
    for name in image.network.tensors[1:]:
        rows = slice(None) if asked is None else image.computed(name, asked)
        assert np.array_equal(image.tensor(words, name)[:, rows], expected[name][0][:, rows]), name
