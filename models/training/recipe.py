"""How a network is trained, as one value, and as the TOML file that people write."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from ...common.errors import UserError, within
from ..data.augment import Augmentation, Crop, Flip, Jitter, Patch, QuarterTurn
from ..layers.contrast import Contrast
from ..layers.routing import Routing
from .distil import Distillation, Logits, Pkkd
from .objective import Alternation, CrossEntropy, L1Loss, Loss
from .outset import Clustered
from .schedule import AdamW, Cosine, Optimiser, Sgd
from .tables import as_toml, as_values, built, one_of, read_toml

__all__ = ["TrainingRecipe", "read_recipe", "recipe_of", "recipe_toml"]

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """How a network is trained. The defaults are those of the AdderNet authors on small images.

    Attributes
    ----------
    epochs : passes over the training images
    batch : images of one step, over all processes
    accumulate : parts in which a batch goes through the network, one after the other, where memory is short; batch
        norms see a part at a time
    seed : of fresh weights, the order of images and augmentation
    precision : ``float32``, or ``bfloat16`` for convolutions (automatic mixed precision); sums and weights are float32
    ema : decay per step of the moving average of weights that becomes the result; None: the weights themselves
    cuda_graph : on a GPU, passes are recorded as one CUDA graph in every epoch; what a network's Python code decides
        anew in each pass stays as it was recorded. Elsewhere, and where steps alternate between tasks, it changes
        nothing. None: no
    held_out : training images that are not trained on, but measured after every epoch
    optimiser, schedule, loss, augment, distil : values of their own
    routing : how predictors of frequency-aware networks learn; None: as `Routing` has it
    contrast : how much patches of an image shall be alike in an image processing transformer; None: not at all
    tasks : which of its tasks a network that has several learns; None: all of them, in equal shares
    start : what takes the place of fresh weights; None: nothing
    """

    epochs: int = 60
    batch: int = 64
    accumulate: int = 1
    seed: int = 0
    precision: str = PRECISIONS[0]
    ema: float | None = None
    cuda_graph: bool | None = None
    held_out: int = 0
    optimiser: Optimiser = field(default_factory=Sgd)
    schedule: Cosine = field(default_factory=Cosine)
    loss: Loss = field(default_factory=CrossEntropy)
    augment: tuple[Augmentation, ...] = (Jitter(),)
    distil: Distillation | None = None
    routing: Routing | None = None
    contrast: Contrast | None = None
    tasks: Alternation | None = None
    start: Clustered | None = None

    KINDS: ClassVar[Mapping[str, tuple[type[Any], ...]]] = {
        "optimiser": (Sgd, AdamW), "loss": (CrossEntropy, L1Loss), "augment": (Crop, Flip, Jitter, Patch, QuarterTurn),
        "distil": (Logits, Pkkd), "start": (Clustered,),
    }  # fmt: skip

    def __post_init__(self) -> None:
        if type(self.epochs) is not int or self.epochs < 1:
            raise UserError(f"epochs must be a positive integer, not {self.epochs!r}")
        within("batch", self.batch, 2, 1 << 20, whole=True)
        within("accumulate", self.accumulate, 1, self.batch // 2, whole=True)
        within("seed", self.seed, -(1 << 63), (1 << 64) - 1, whole=True)
        within("held_out", self.held_out, 0, 1 << 31, whole=True)
        if self.precision not in PRECISIONS:
            raise UserError(f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}")
        if self.ema is not None:
            within("ema", self.ema, 0, 1)
        if self.cuda_graph is not None and type(self.cuda_graph) is not bool:
            raise UserError(f"cuda_graph must be true or false, not {self.cuda_graph!r}")
        if self.schedule.warmup >= self.epochs:
            raise UserError(f"a warm-up of {self.schedule.warmup} epochs leaves none of {self.epochs}")

    def values(self) -> dict[str, Any]:
        """Plain values, tables and arrays, as the TOML file has them."""
        found: dict[str, Any] = as_values(self)
        return found

    def changed(self, **values: Any) -> "TrainingRecipe":
        """The recipe with some values replaced; those that are None stay."""
        return replace(self, **{name: value for name, value in values.items() if value is not None})


def recipe_of(values: Mapping[str, Any], where: str, *, usual: TrainingRecipe | None = None) -> TrainingRecipe:
    """The recipe of plain values; what is not said is as in ``usual``, the default recipe unless given.

    Raises
    ------
    UserError
        for what no recipe has, or is out of range, by name, with ``where`` in front.
    """
    own = dict(values)
    for name, kinds in TrainingRecipe.KINDS.items():
        if name not in own:
            continue
        if name == "augment":
            if not isinstance(own[name], list):
                raise UserError(f"{where}: augment must be an array of tables, [[augment]]")
            own[name] = tuple(one_of(kinds, table, f"{where}: augment") for table in own[name])
        else:
            own[name] = one_of(kinds, own[name], f"{where}: {name}")
    for name, made in (("schedule", Cosine), ("routing", Routing), ("contrast", Contrast), ("tasks", Alternation)):
        if name in own:
            own[name] = built(made, own[name], f"{where}: {name}")
    rest = {} if usual is None else {field.name: getattr(usual, field.name) for field in fields(usual)}
    return built(TrainingRecipe, {**rest, **own}, where)


def read_recipe(path: Path, *, usual: TrainingRecipe | None = None) -> TrainingRecipe:
    """The recipe of a TOML file; raises `UserError` as `recipe_of`, or where it cannot be read."""
    return recipe_of(read_toml(path, "recipe"), str(path), usual=usual)


def recipe_toml(recipe: TrainingRecipe) -> str:
    """The TOML file of a recipe, with every value."""
    return as_toml(recipe.values())
