"""A network of integers: made of a trained one, tried, exported, saved, and built."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.console import steps
from ..common.errors import UserError, positive
from .build import DEVICE, Build, generated
from .display import program_page, table
from .given import given, given_pairs

if TYPE_CHECKING:
    from torch import nn

    from ..hdl.family import Envelope
    from ..quant.enlarging import PictureEvaluation
    from ..quant.fold.scheme import Scheme
    from ..quant.golden import Result
    from ..quant.lower.mixed import Sensitivity
    from ..quant.lower.trace import Comparison
    from ..quant.program import Program
    from ..quant.quantize import Evaluation

__all__ = ["Network", "load", "quantize"]

DIGITS, PHOTOGRAPHS = "digits", "photographs"
TRACED = 200
"""Images of a trace, where their number is not said: enough for a mean, few enough for a float network."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Network:
    """A network of integers, bit for bit what its hardware computes.

    Attributes
    ----------
    program : its operations
    sensitivities : what every layer loses with fewer bits, where that was asked for
    module : the float network that it was made of, where that was given as a module
    file : from which it was loaded
    """

    program: "Program"
    sensitivities: tuple["Sensitivity", ...] = ()
    module: "nn.Module | None" = None
    file: Path | None = None

    def run(self, images: Any) -> "Result":
        """What the golden model computes for ``images``, whatever `quantize` takes as such; labels are not needed.

        A network whose input is not of unsigned bytes takes an array of integers that lie in its format.
        """
        from ..quant import golden

        return golden.run(self.program, given(self.program, images, "test").x)

    def evaluate(
        self, images: Any = None, *, split: str = "test", limit: int | None = None
    ) -> "Evaluation | PictureEvaluation":
        """Accuracy on labelled images by the golden model; of a network that makes images larger, or better, PSNR and
        SSIM on pictures, beside those of bicubic scaling, or of the pictures as they are given, and of the float
        network, where that is found.

        Parameters
        ----------
        images : a data set, (images, labels), or where they lie, of which the ``split`` is taken; ``digits`` unless
            given. Of a network that makes images larger ``photographs``, or a folder of pictures, perhaps ``HR`` and
            ``LR``
        limit : take the first so many

        Raises
        ------
        UserError
            for images without labels or of another shape, and where the network neither classifies nor enlarges.
        """
        from ..quant.quantize import evaluate

        if self.program.enlargement is not None:
            return self.evaluate_pictures(images, split=split, limit=limit)
        _ = self.program.classes
        images = DIGITS if images is None else images
        chosen = given(self.program, images, split, limit=positive("limit", limit))
        return evaluate(self.program, chosen)

    def evaluate_pictures(
        self, images: Any = None, *, split: str = "test", limit: int | None = None,
        source: str | Path | None = None, weights: str | Path | None = None,
    ) -> "PictureEvaluation":  # fmt: skip
        """PSNR and SSIM of a network that makes images larger, on whole pictures of any size.

        Parameters
        ----------
        images, limit : as of `evaluate`
        source, weights : of the float network, as of `compare`. Where none is given and none found, its scores are
            missing

        Raises
        ------
        UserError
            for what are no pictures, a network that does not enlarge, or a float network that is given and not found.
        """
        from ..quant.enlarging import evaluate_pictures
        from ..quant.quantize import float_of

        scale = self.program.enlargement
        if scale is None:
            raise UserError("pictures are for a network that makes images larger or better; this one does neither")
        images = PHOTOGRAPHS if images is None else images
        pairs = given_pairs(self.program, images, split, limit=positive("limit", limit))
        if pairs is None:
            does = "better" if scale == 1 else f"{scale} times as large"
            raise UserError(
                f"the network makes images {does}, and its results are compared with pictures: give {PHOTOGRAPHS!r} or "
                "a folder of pictures"
            )
        module = self.module
        if source is not None or weights is not None or module is None:
            folder = None if self.file is None else self.file.parent
            try:
                module = float_of(self.program, source=source, weights=weights, folder=folder)
            except UserError:
                if source is not None or weights is not None:
                    raise
        return evaluate_pictures(self.program, pairs, module=module)

    def resized(self, height: int, width: int) -> "Network":
        """The same integers for images of ``height`` by ``width``.

        Raises
        ------
        UserError
            where the network has operations that are of one size, such as dense layers.
        """
        return replace(self, program=self.program.resized(height, width))

    def compare(
        self, images: Any = None, *, split: str = "test", limit: int | None = None,
        source: str | Path | None = None, weights: str | Path | None = None,
    ) -> "Comparison":  # fmt: skip
        """This network beside the float one that it was made of, layer by layer.

        Parameters
        ----------
        limit : images on which both run; 200 unless said
        source, weights : of the float network. Where they are not given, it is the module that `quantize` was given,
            else what the network says it was made of, if that is no code

        Raises
        ------
        UserError
            when the float network is not found.
        """
        from ..quant.lower.trace import compare
        from ..quant.quantize import trace_program

        if images is None:
            images = DIGITS if self.program.enlargement is None else PHOTOGRAPHS
        few = given(self.program, images, split, limit=positive("limit", limit) or TRACED)
        if source is None and weights is None and self.module is not None:
            return compare(self.program, self.module, few.x)
        folder = None if self.file is None else self.file.parent
        return trace_program(self.program, few, source=source, weights=weights, folder=folder)

    def export(self, fmt: str, out: str | Path) -> Path:
        """Write the integers as ``qonnx``, ``qcdq``, ``npz`` or ``c`` into the folder ``out``, with a manifest.

        Raises
        ------
        UserError
            for an unknown format, operations that it cannot say, or a folder that cannot be written.
        """
        from ..quant.export import export

        return export(self.program, out, fmt=fmt)

    def save(self, file: str | Path) -> Path:
        """Write the ``.addax`` file that `load` and the command line read."""
        from ..quant.files.archive import save_program

        save_program(file, self.program)
        return Path(file)

    def generate(
        self,
        device: str = DEVICE,
        *,
        lanes: int | None = None,
        fps: float | None = None,
        fill: bool = False,
        plan: "str | Path | Envelope | None" = None,
        out: str | Path | None = None,
        prefix: str = "addax",
        **choices: Any,
    ) -> Build:
        """Make Verilog, memory files and a test bench.

        Parameters
        ----------
        device : of the catalogue, such as ``ecp5-85k``
        lanes : the fastest design with at most so many
        fps : the cheapest design with so many images per second; where no goal is given at all, 30, as video has
        fill : the fastest design that fits the device
        plan : a ``plan.json``, perhaps in part, or a Plan; instead of ``lanes``, ``fps`` and ``fill``
        out : BUILD folder, ``out/NETWORK-DEVICE`` unless said. An earlier BUILD there is replaced, anything else is
            refused.
        prefix : of all Verilog modules
        choices : the other fields of `PlanChoices`: ``clock_mhz``, ``fixed_weights``, ``form``, ``memory``,
            ``multipliers``, ``scale``, ``control``, ..

        Raises
        ------
        UserError
            for a target that no design meets, a device that is too small, a Plan that does not fit, an unknown choice.
        """
        folder = Path(out) if out is not None else Path("out") / f"{self.name}-{device.partition(':')[0]}"
        with steps("generating"):
            return generated(
                self.program, folder, prefix=prefix, plan=plan, device=device, lanes=lanes, fps=fps, fill=fill,
                **choices
            )  # fmt: skip

    @property
    def name(self) -> str:
        """The name of the network that the integers were made of."""
        kept = "".join(c if c.isalnum() or c in "-_" else "-" for c in self.program.metadata.get("network", ""))
        return kept.strip("-") or "network"

    @property
    def parameters(self) -> int:
        """Number of integer weights."""
        return self.program.parameters()

    @property
    def macs(self) -> int:
        """Products per image."""
        return self.program.macs()

    def __repr__(self) -> str:
        from ..quant.ops.ends import PIXEL

        first = self.program.input
        shape = "x".join(map(str, first.shape))
        what = "pixels" if first.format == PIXEL else str(first.format)
        said = self.program.metadata
        how = ", ".join(f"{said[key]} {unit}".strip() for key, unit in (("kernel", ""), ("bits", "bit")) if key in said)
        return (
            f"<addax.Network {self.name} ({how}): {shape} {what}, {len(self.program.ops)} operations, "
            f"{self.parameters:,} weights, {self.macs:,} MACs per image>"
        )

    def _repr_html_(self) -> str:
        shown = {key: text for key, text in self.program.metadata.items() if key not in ("origins", "arrangements")}
        rows = {**shown, "parameters": f"{self.parameters:,}", "MACs per image": f"{self.macs:,}"}
        return table(f"addax.Network {self.name}", rows) + program_page(self.program)


def quantize(
    source: "str | Path | nn.Module",
    images: Any = None,
    *,
    bits: int | None = None,
    kernel: str | None = None,
    weights: str | Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    calibration: int = 300,
    scheme: "Scheme | None" = None,
    mean_bits: float | None = None,
    sensitivity: bool = False,
    size: tuple[int, int] | None = None,
    input_scale: float | None = None,
    input_offset: float | None = None,
    task: str | None = None,
) -> Network:
    """Make a network of integers of a trained one.

    Parameters
    ----------
    source : a module of torch, which stays as it is; a network by name; a ``.safetensors`` checkpoint; an ONNX file; or
        ``package.module:factory``, which is imported and called
    images : that calibrate, as `data.samples` takes them: arrays, tensors, a data set of torch, or where they lie;
        ``digits`` unless given. Of a network of the zoo that makes images ``photographs``, or a folder of pictures
    bits : 2..16, of weights and features; 8 unless said, or what a checkpoint was trained at
    kernel : of a network of the zoo: ``adder``, ``mult``, ``xnor`` or ``shift``
    weights : file of a published network, of a network of the zoo or for a factory
    mean, std : per channel, where a module reads standardised images, and ``images`` may be: ``(x / 255 - mean) / std``
    calibration : images that are looked at
    scheme : every other choice of quantisation; it says the bits as well
    mean_bits : choose the bits of every layer so that a weight has so many on average
    sensitivity : find out what every layer loses with fewer bits
    size : rows and columns of the images that the network takes, where it takes any; those that calibrate unless given
    input_scale, input_offset : of an ONNX file: it reads ``scale * pixel + offset``
    task : of a network of the zoo that has several, such as ``ipt``; the first that it was trained for unless given

    Raises
    ------
    UserError
        for whatever of it is missing, foreign, out of range, or cannot be said in integers, by name.
    """
    from torch import nn

    how: dict[str, Any] = {
        "scheme": _scheme(scheme, bits), "images": calibration, "mean": mean_bits, "sensitivity": sensitivity,
        "bits_given": bits is not None, "size": size,
    }  # fmt: skip
    own: dict[str, Any] = {"kernel": kernel, "weights": weights, "task": task}
    own |= {"input_scale": input_scale, "input_offset": input_offset}
    with steps("quantising") as step:
        if isinstance(source, nn.Module):
            return _of_module(source, images, mean, std, own, {**how, "progress": step})
        if mean is not None or std is not None:
            raise UserError(f"mean and std are for a module; {source} reads pixels as it was trained")
        from ..quant.quantize import quantize_network

        found = quantize_network(source, data_source=images, progress=step, **own, **how)
    return Network(program=found.program, sensitivities=found.sensitivities)


def _of_module(
    module: "nn.Module", images: Any, mean: Sequence[float] | None, std: Sequence[float] | None, own: dict[str, Any],
    how: dict[str, Any],
) -> Network:  # fmt: skip
    """The network of a module of torch; ``own`` is what other sources are described with."""
    from ..quant.quantize import quantize_float
    from ..quant.sources import own_module

    if said := [name for name, value in own.items() if value is not None]:
        raise UserError(f"a module brings its own kernel, weights, input and task; leave {', '.join(said)} out")
    network = own_module(module, mean=mean, std=std)
    found = quantize_float(network, images, image_mean=mean, image_std=std, **how)
    return Network(program=found.program, sensitivities=found.sensitivities, module=network.module)


def _scheme(scheme: "Scheme | None", bits: int | None) -> "Scheme":
    """How to quantise, where only the bits may be said."""
    from ..quant.fold.scheme import chosen_scheme

    if scheme is not None:
        if bits is not None and bits != scheme.bits:
            raise UserError(f"bits are said twice: {bits}, and {scheme.bits} by the scheme")
        return scheme
    return chosen_scheme() if bits is None else chosen_scheme(bits=bits)


def load(file: str | Path) -> Network:
    """The network in a ``.addax`` file; raises `UserError` where there is none. Nothing in it is run."""
    from ..quant.files.archive import load_program

    return Network(program=load_program(file), file=Path(file))
