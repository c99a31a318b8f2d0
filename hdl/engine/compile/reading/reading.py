"""A Program read into layers that an engine has."""

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np

from .....common.errors import UserError
from .....quant.formats import Format
from .....quant.ops.window import Window
from .....quant.program import (
    ArgMax,
    AveragePool,
    Concat,
    Constant,
    Convolution,
    Divide,
    Flatten,
    Input,
    MatMul,
    MaxPool,
    Norm,
    Op,
    PixelShuffle,
    Product,
    Program,
    Rearrange,
    Reduce,
    Requantise,
    Select,
    Slice,
    Softmax,
    SpatialShift,
    Table,
    Threshold,
    Unfold,
    Upsample,
)  # fmt: skip
from ...plan import MOST_SUM_BITS, RESIDUAL_BITS, WIDEST, EnginePlan
from ...records import Across, Unit
from ..advice import built_with
from .choices import across, added_channels, check_choices, chosen
from .elements import multiplied, unchanged, with_table
from .groups import grouped
from .layers import EngineLayer, EngineNetwork, Ints, SecondSlope
from .levels import as_requantise, held_levels
from .moves import moved
from .narrow import had_by
from .operands import check_lanes, grid_top, lane_words, shuffled_channels
from .slopes import of_sums, second_slope
from .stem import with_folded_stem
from .tokens.divisions import as_divided, check_denominators, check_divided
from .tokens.exponentials import exponentials
from .tokens.heads import with_heads
from .tokens.norms import normed
from .tokens.products import check_fillers, check_tokens, tokens_layer
from .tokens.words import TensorViews

__all__ = ["network_of"]


def network_of(program: Program, plan: EnginePlan) -> EngineNetwork:
    """The layers of ``program`` for an engine of ``plan``.

    Raises
    ------
    UserError
        for an operation that the engine does not have, by name.
    """
    reading = _Reading(program, plan)
    for op in program.ops:
        reading.read(op)
    made = [layer.name for layer in reading.layers]
    seen = reading.seen
    names = [reading.input, *made, *seen.names]
    if program.output in seen.names:
        raise UserError(f"the engine stores no tensor {program.output!r}: what it joins or cuts is stored in parts")
    network = EngineNetwork(
        program=program, layers=tuple(reading.layers), shapes={name: program.shape(name) for name in names},
        views=seen.joined, moves=seen.moves, constants=seen.constants,
        heads={name: size for name, size in seen.sizes.items() if name in names}, unfold=reading.unfold,
    )  # fmt: skip
    network = with_heads(network, plan)
    check_fillers(network, plan)
    check_denominators(network)
    return with_folded_stem(network, plan)


class _Reading:
    """Collects layers; a convolution waits for the requantise that reads it."""

    def __init__(self, program: Program, plan: EnginePlan):
        self.program = program
        self.plan = plan
        self.layers: list[EngineLayer] = []
        self.views: dict[str, str] = {}
        self.unfold: Unfold | None = None
        self.seen = TensorViews(program, plan, self._stored)
        readers: dict[str, list[Op]] = {}
        for op in program.ops:
            for source in op.sources:
                readers.setdefault(source, []).append(op)
        self.readers = readers

    @property
    def input(self) -> str:
        """As `EngineNetwork.input`."""
        return self.program.input.name if self.unfold is None else self.unfold.name

    def read(self, op: Op) -> None:
        kinds: dict[type, Callable[..., None]] = {
            Input: self._input, Convolution: self._sums, AveragePool: self._sums, Requantise: self._requantise,
            Threshold: self._threshold, PixelShuffle: self._pixel_shuffle, MaxPool: self._max_pool,
            Flatten: self._flatten, Concat: self.seen.join, Slice: self.seen.cut, SpatialShift: self._moved,
            Upsample: self._moved, ArgMax: self._arg_max, Product: self._products, Table: self._table,
            Select: self._select, Reduce: self._reduce, Norm: self._norm, Softmax: self._softmax,
            MatMul: self._tokens, Divide: self._divide, Rearrange: self.seen.move, Constant: self.seen.keep,
            Unfold: self._unfolded,
        }  # fmt: skip
        if type(op) not in kinds:
            raise UserError(f"the engine has no {type(op).__name__} so far, which {op.name!r} is")
        kinds[type(op)](op)

    def _input(self, op: Input) -> None:
        self._check_stored(op.name)

    def _unfolded(self, op: Unfold) -> None:
        """Windows of the image are put in its place by whoever writes it."""
        image = self.program.input.name
        if op.source != image or len(self.readers[image]) > 1:
            raise UserError(
                f"the engine takes windows of the image in its place, where nothing else reads it: {op.name!r} takes "
                f"those of {op.source!r}"
            )
        self.unfold = op

    def _arg_max(self, op: ArgMax) -> None:
        """That of class scores is left to whoever reads them."""
        if op is not self.program.decision:
            self._compared(op)

    def _reduce(self, op: Reduce) -> None:
        if op.how == "sum":
            self._sums(op)
        elif op.parts > 1:
            raise UserError(f"the engine compares all channels of a pixel; {op.name!r} takes them in {op.parts} parts")
        else:
            self._compared(op)

    def _compared(self, op: ArgMax | Reduce) -> None:
        check_choices(op.name, self.plan)
        made = self._taken_layer(op)
        self.layers.append(across(made, op, self.program.format(op.source), self.plan))

    def _taken_layer(self, op: ArgMax | Reduce | Table) -> EngineLayer:
        """The layer that ``op`` becomes a part of, taken out of the list: the one that makes what it reads, if nothing
        else reads that; else a layer of its own, which hands on what is stored, as behind a shuffle, where the layer
        has channels that nobody reads."""
        made = next((layer for layer in self.layers if layer.name == op.source), None)
        if (
            made is None or made.table is not None or made.levels is not None or made.shuffle > 1
            or len(self.readers[op.source]) > 1 or made.across is not Across.NOTHING or made.twice or made.divides
        ):  # fmt: skip
            read = self.program.format(op.source)
            self._requantise(unchanged(op.name, op.source, read, self.program.shape(op.source)[0]))
            made = self.layers[-1]
        self.layers.remove(made)
        return made

    def _select(self, op: Select) -> None:
        mask, branches = self._stored(op.source), tuple(self._stored(name) for name in op.branches)
        formats = [self._check_stored(name) for name in (mask, *branches)]
        shape = self.program.shape(op.name)
        for name in (mask, *branches):
            if self.program.shape(name)[1:] != shape[1:]:
                raise UserError(f"{op.name!r} chooses among {name!r}, which has another shape as it is stored")
        self.layers.append(chosen(op, (mask, formats[0]), branches, shape, formats[1], self.plan))

    def _sums(self, op: Op) -> None:
        self._check_readers(op)
        self._check_stored(self._stored(op.source))
        # One bit more than the Program says: an adder's sums are held positive, those of a pool with a sign.
        self._check_bits(op, self.program.format(op.name).bits + 1)

    def _products(self, op: Product) -> None:
        if not self.plan.product:
            raise UserError(f"the engine has no products, which {op.name!r} makes: build it with --product")
        self._check_readers(op)
        for source in op.sources:
            self._check_stored(self._stored(source))
        self._check_bits(op, self.program.format(op.name).bits)

    def _tokens(self, op: MatMul) -> None:
        check_tokens(op, self.program.format(op.other), self.plan)
        self._check_stored(self._stored(op.other))
        self._sums(op)

    def _check_readers(self, op: Op) -> None:
        after = self.readers.get(op.name, [])
        if not after or not all(
            (isinstance(reader, Requantise | Threshold) and reader.sources.count(op.name) == 1
            and reader.source == op.name) or self._divides(reader, op) for reader in after
        ):  # fmt: skip
            raise UserError(f"the engine stores no sums: {op.name!r} must be read by requantises or thresholds alone")

    def _divides(self, reader: Op, op: Op) -> bool:
        """Whether ``reader`` divides the sums ``op``, or by them."""
        if not isinstance(reader, Divide):
            return False
        added = isinstance(op, Reduce) and op.how == "sum" and reader.source != op.name
        return added or (isinstance(op, MatMul) and reader.denominator != op.name)

    def _check_bits(self, op: Op, bits: int) -> None:
        if bits > self.plan.sum_bits:
            raise UserError(
                f"{op.name!r} makes sums of {self.program.format(op.name)}, which take {bits} bits; the engine's have "
                f"{self.plan.sum_bits}; {built_with('sum-bits', bits, MOST_SUM_BITS)}"
            )

    def _flatten(self, op: Flatten) -> None:
        if self.program.shape(op.source)[1:] != (1, 1) and not all(
            isinstance(reader, Convolution) and reader.window.kernel == (1, 1) and reader.groups == 1
            for reader in self.readers.get(op.name, [])
        ):
            raise UserError(f"the engine flattens maps in front of dense layers only, not for {op.name!r}")
        self.views[op.name] = self._stored(op.source)

    def _max_pool(self, op: MaxPool) -> None:
        source = self._stored(op.source)
        fmt = self._check_stored(source)
        channels = self.program.shape(source)[0]
        zeros = np.zeros(channels, np.int64)
        self.layers.append(EngineLayer(
            name=op.name, source=source, unit=Unit.MAXIMUM, window=op.window, pad=np.full(channels, fmt.lo),
            multiplier=np.ones(channels, np.int64), offset=zeros - grid_top(fmt, self.plan), shift=zeros,
            residual_multiplier=zeros, low=fmt.lo, high=fmt.hi,
        ))  # fmt: skip

    def _pixel_shuffle(self, op: PixelShuffle) -> None:
        """Stored by the layer whose result it moves, which is not stored itself."""
        layer = self.layers[-1] if self.layers else None
        if (
            layer is None or layer.name != op.source or layer.unit is not Unit.ARRAY or layer.residual is not None
            or layer.groups > 1 or len(self.readers[op.source]) != 1 or self._check_stored(op.source) is None
        ):  # fmt: skip
            raise UserError(
                f"the engine shuffles pixels only behind a convolution that nothing else reads: {op.name!r}"
            )
        order = shuffled_channels(len(layer.multiplier), op.factor, self.plan.channels)
        held = order >= 0

        def chosen(values: Ints, other: int = 0) -> Ints:
            return np.where(held.reshape(-1, *[1] * (values.ndim - 1)), values[order], other)

        assert layer.weight is not None
        second, levels = layer.second, layer.levels
        if second is not None:
            spare = {"offset": layer.spare_offset}
            second = SecondSlope(**{name: chosen(v, spare.get(name, 0)) for name, v in vars(second).items()})
        if levels is not None:  # no result of a channel that there is not reaches one
            levels = np.where(held[:, None], levels[order], self.plan.level.hi)
        self.layers[-1] = replace(
            layer, name=op.name, shuffle=op.factor, weight=chosen(layer.weight), multiplier=chosen(layer.multiplier),
            offset=chosen(layer.offset, layer.spare_offset), shift=chosen(layer.shift),
            residual_multiplier=chosen(layer.residual_multiplier), second=second, levels=levels,
            table=chosen(layer.table) if layer.table is not None and layer.table.ndim == 2 else layer.table,
        )  # fmt: skip

    def _moved(self, op: SpatialShift | Upsample) -> None:
        source = self._stored(op.source)
        fmt = self._check_stored(source)
        self.layers.append(moved(op, source, self.program.shape(source), fmt, self.plan))

    def _table(self, op: Table) -> None:
        made = self._taken_layer(op)
        self.layers.append(with_table(made, op, self.program.format(op.source), self.plan))

    def _norm(self, op: Norm) -> None:
        source = self._stored(op.source)
        self._check_stored(source)
        if self.program.shape(source) != self.program.shape(op.source):
            raise UserError(f"the layer norm {op.name!r} reads {op.source!r}, which has another shape as it is stored")
        self._check_result(op)
        self.layers.append(normed(op, source, self.program.shape(source)[0], self.plan))

    def _softmax(self, op: Softmax) -> None:
        source = self._stored(op.source)
        self._check_stored(source)
        if self.program.shape(source) != self.program.shape(op.source):
            raise UserError(f"the softmax {op.name!r} reads {op.source!r}, which has another shape as it is stored")
        self.layers.append(exponentials(op, source, self.program.shape(source)[0], self.plan))

    def _divide(self, op: Divide) -> None:
        """What is divided is a product of tokens, or stored; sums that are denominators are stored as they are."""
        made, below = self.program.by_name[op.source], self.program.by_name[op.denominator]
        check_divided(op, self.program, self.plan)
        if isinstance(below, Reduce) and below.how == "sum" and below.name not in [one.name for one in self.layers]:
            read = self.program.format(below.name)
            self._requantise(unchanged(below.name, below.name, read, self.program.shape(below.name)[0]))
        scaled, denominator = as_divided(op), self._stored(op.denominator)
        if self.program.shape(denominator) != self.program.shape(op.denominator):
            raise UserError(f"the denominators of {op.name!r} have another shape as they are stored")
        if isinstance(made, MatMul):
            layer = self._multiplied_tokens(made, scaled)
        else:
            layer = self._stage(op.source, scaled, Unit.MAXIMUM, Window(kernel=(1, 1)))
            if self.program.shape(layer.source) != self.program.shape(op.source):
                raise UserError(f"{op.name!r} divides {layer.source!r}, which has another shape as it is stored")
        heads = self.program.shape(denominator)[0]
        self.layers.append(replace(layer, residual=denominator, divides=True, groups=heads))

    def _threshold(self, op: Threshold) -> None:
        """A single level is a requantise: ``acc >= T`` is ``clamp(acc - T + 1, 0, 1)``, falling it is
        ``clamp(T - acc, 0, 1)``. So are several that are evenly spaced."""
        if op.thresholds.shape[1] == 1:
            level, sign = op.thresholds[:, 0], 1 - 2 * op.falling
            self._requantise(Requantise(
                name=op.name, source=op.source, multiplier=sign, offset=np.where(op.falling == 1, level, 1 - level),
                shift=0, format=op.format, lo=0, hi=1,
            ))  # fmt: skip
            return
        sums = self.program.format(op.source)
        if (spaced := as_requantise(op, sums, self.plan)) is not None:
            self._requantise(spaced)
        else:
            self._requantise(*held_levels(op, sums, self.plan))

    def _requantise(self, op: Requantise, levels: Ints | None = None) -> None:
        op = had_by(self.plan, op, self.program.format(op.source))
        made, residual = self.program.by_name[op.source], op.residual
        if isinstance(made, Reduce) and made.how == "sum":
            made = added_channels(made, self.program.shape(made.source)[0], self.plan)
        if isinstance(made, Convolution):
            layer = self._convolution(made, op)
        elif isinstance(made, Product):
            layer = self._product(made, op)
            residual = op.source if op.residual is not None else None
        elif isinstance(made, MatMul):
            layer = self._multiplied_tokens(made, op)
        elif isinstance(made, AveragePool):
            layer = self._stage(made.source, op, Unit.SUM, made.window)
        elif self.program.format(op.source).bits > self.plan.bits:
            layer = self._wide(op)
            residual = op.source if op.residual is not None else None
        else:
            layer = self._stage(op.source, op, Unit.MAXIMUM, Window(kernel=(1, 1)))
        self._check_result(op)
        self.layers.append(replace(self._with_residual(layer, op, residual), even=op.ties == "even", levels=levels))

    def _check_result(self, op: Op) -> None:
        if self.program.format(op.name).bits > self.plan.result.bits:
            bits = self.program.format(op.name).bits
            raise UserError(
                f"{op.name!r} has {self.program.format(op.name)}; the engine's results have at most "
                f"{self.plan.result.bits} bits; {built_with('sum-bits', bits, MOST_SUM_BITS)}"
            )

    def _stage(self, source: str, op: Requantise, unit: Unit, window: Window) -> EngineLayer:
        stored = self._stored(source)
        fmt = self._check_stored(stored)
        layer = EngineLayer(
            name=op.name, source=stored, unit=unit, window=window,
            pad=np.zeros(self.program.shape(stored)[0], np.int64),
            multiplier=op.multiplier, offset=op.offset, shift=op.shifts, residual_multiplier=op.residual_multipliers,
            low=op.lo, high=op.hi, second=second_slope(op),
        )  # fmt: skip
        if unit is Unit.ARRAY:
            return layer
        # Each tap of a pool counts from the lowest value.
        taps = prod(window.kernel) if unit is Unit.SUM else 1
        return of_sums(layer, 1, -taps * grid_top(fmt, self.plan))

    def _wide(self, op: Requantise) -> EngineLayer:
        """A stored tensor that the lanes do not hold joins as a residual; what a pool reads beside it, its first word
        again and again, counts nothing."""
        source = self._stored(op.source)
        fmt, shape = self.program.format(source), self.program.shape(source)
        narrow = op.residual is None or self.program.format(op.residual).bits <= self.plan.bits
        if not narrow or fmt.bits > RESIDUAL_BITS:
            raise UserError(
                f"the engine requantises stored tensors of at most {RESIDUAL_BITS} bits, and no residual of more than "
                f"{self.plan.bits} with those of more than {self.plan.bits}: {op.name!r}"
            )
        if op.bends:
            raise UserError(
                f"second slopes of stored tensors are of at most {self.plan.bits} bits, {source!r} has {fmt}: build it "
                "with --bits 16"
            )
        if op.residual is not None:
            return self._exchanged(op)
        zeros = np.zeros(shape[0], np.int64)
        return EngineLayer(
            name=op.name, source=source, unit=Unit.MAXIMUM,
            window=Window(kernel=(1, 1), strides=(0, 0)), pad=zeros, multiplier=zeros,
            offset=op.offset - self._lowest(fmt) * op.multiplier, shift=op.shifts, residual_multiplier=op.multiplier,
            low=op.lo, high=op.hi, residual=source,
        )  # fmt: skip

    def _exchanged(self, op: Requantise) -> EngineLayer:
        """A wide tensor and a narrow residual: the residual is what is read, and the other joins it."""
        assert op.residual is not None
        source = self._stored(op.residual)
        fmt = self._check_stored(source)
        layer = EngineLayer(
            name=op.name, source=source, unit=Unit.MAXIMUM, window=Window(kernel=(1, 1)),
            pad=np.zeros(len(op.multiplier), np.int64), multiplier=op.residual_multipliers, offset=op.offset,
            shift=op.shifts, residual_multiplier=op.multiplier, low=op.lo, high=op.hi,
        )  # fmt: skip
        return of_sums(layer, 1, -grid_top(fmt, self.plan))

    def _product(self, made: Product, op: Requantise) -> EngineLayer:
        """The second tensor comes as a residual does, so what joins behind the product joins it as it is stored."""
        if op.residual is not None:
            return self._joined_product(made, op)
        stored = self._stored(made.source), self._stored(made.other)
        layer = multiplied(op, stored, (self.program.shape(stored[0]), self.program.shape(stored[1])))
        return replace(layer, second=second_slope(op))

    def _joined_product(self, made: Product, op: Requantise) -> EngineLayer:
        """The products are stored as they are, and join the residual."""
        fmt = self.program.format(made.name)
        if fmt.bits > RESIDUAL_BITS:
            raise UserError(
                f"a residual joins products of at most {RESIDUAL_BITS} bits, but those of {made.name!r}, which "
                f"{op.name!r} reads, have {fmt}"
            )
        if op.bends:
            raise UserError(f"the engine has no second slope behind a product that a residual joins, as in {op.name!r}")
        if made.name not in [layer.name for layer in self.layers]:
            plain = unchanged(made.name, made.name, fmt, self.program.shape(made.name)[0])
            self.layers.append(self._product(made, plain))
        return self._exchanged(op)

    def _convolution(self, made: Convolution, op: Requantise) -> EngineLayer:
        check_lanes(made.name, made.kernel, self.plan)
        layer = self._stage(made.source, op, Unit.ARRAY, made.window)
        weight, pad = lane_words(made, self.program.format(layer.source), self.plan), made.pad
        if self.program.shape(layer.source) != self.program.shape(made.source):  # behind a flatten
            weight = weight.reshape(len(weight), *self.program.shape(layer.source))
            layer, pad = replace(layer, window=Window(kernel=self.program.shape(layer.source)[1:])), layer.pad
        # The lanes of an adder sum distances, of which the kernel is the negative. Those of an xnor count equal pairs:
        # the sum of signs is twice that less the number of terms.
        scale, more = {"adder": (-1, 0), "xnor": (2, -made.taps)}.get(made.kernel, (1, 0))
        layer = of_sums(layer, scale, more)
        # What fills a block must add nothing: an adder's weight of 0, and for xnor, whose features are 0 there, a 1.
        neutral = {"adder": grid_top(self.program.format(layer.source), self.plan), "xnor": 1}.get(made.kernel, 0)
        # What several requantises read is computed for each of them, and counts once.
        first = self.readers[made.name][0] is self.program.by_name[op.name]
        layer = replace(
            layer, kernel=made.kernel, weight=weight, pad=pad, neutral=neutral,
            macs=self.program.macs_of(made.name) if first else 0,
        )  # fmt: skip
        return layer if made.groups == 1 else grouped(layer, made, self.program.shape(layer.source)[2], self.plan)

    def _multiplied_tokens(self, made: MatMul, op: Requantise) -> EngineLayer:
        stored = self._stored(made.source), self._stored(made.other)
        # What several requantises read is computed for each of them, and counts once.
        first = self.readers[made.name][0] is self.program.by_name[op.name]
        macs = self.program.macs_of(made.name) if first else 0
        return tokens_layer(made, op, stored, self.program.shape(stored[0])[0], macs)

    def _with_residual(self, layer: EngineLayer, op: Requantise, residual: str | None) -> EngineLayer:
        """``layer`` with the ``residual`` that joins in ``op``."""
        if residual is None:
            return layer
        name = self._stored(residual)
        if self.program.shape(name) != self.program.shape(op.name):
            raise UserError(f"the residual {name!r} of {op.name!r} has another shape as it is stored")
        fmt = self.program.format(name)
        if fmt.bits > RESIDUAL_BITS:
            raise UserError(f"the residual {name!r} has {fmt}; at most {RESIDUAL_BITS} bits join")
        less, second = self._lowest(fmt) * layer.residual_multiplier, layer.second
        if second is not None:
            second = replace(second, offset=second.offset - less)
        return replace(layer, residual=name, offset=layer.offset - less, second=second)

    def _lowest(self, fmt: Format) -> int:
        """What a residual of ``fmt`` has too much when it comes to the requantisers, counted from the lowest value that
        its words can hold."""
        return 1 << -(-fmt.bits // self.plan.bits) * self.plan.bits - 1 if fmt.signed else 0

    def _stored(self, name: str) -> str:
        """The stored tensor behind views."""
        name = self.views.get(name, name)
        made = {layer.name for layer in self.layers}
        stored = {self.input, *self.seen.names, *made}
        if name not in stored:
            raise UserError(f"the engine stores no sums, which {name!r} holds")
        return name

    def _check_stored(self, name: str) -> Format:
        fmt = self.program.format(name)
        if fmt.bits > self.plan.bits:
            advice = "build it with --bits 16" if fmt.bits <= WIDEST else f"no engine reads more than {WIDEST}"
            raise UserError(f"{name!r} has {fmt}; the engine's lanes read at most {self.plan.bits} bits; {advice}")
        return fmt
