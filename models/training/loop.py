"""The loop in which networks are trained, whatever their task, and what a network says of images."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from ...common.errors import UserError
from ..data.augment import Augmentation, Jitter, augmented, augmented_pairs
from ..data.examples import Examples, HeldExamples
from ..data.sets import Images
from ..layers.adder_gradients import scale_adder_gradients
from ..layers.binary import set_progress
from ..layers.contrast import contrast_loss, set_contrast
from ..layers.ghost import set_ghost_noise
from ..layers.routing import routing_loss, set_routing, set_routing_progress
from .average import MovingAverage
from .distil import Guided
from .finite import check_gradients, first_fault
from .graphs import Replayed
from .history import EpochRow, Moment
from .objective import ACCURACY, Metric
from .ranks import CPU, Ranks
from .recipe import TrainingRecipe
from .schedule import Sgd, set_rate
from .state import Keeping, Moving, load_state, save_state

__all__ = ["Lesson", "Watch", "accuracy", "measured", "predict", "scores", "to_float", "train", "train_by"]

GRADIENT_STEPS: tuple[Callable[[nn.Module], None], ...] = (scale_adder_gradients,)
"""What is done to the gradients of a network once per step, when those of all parts of the batch and of all processes
have come together and before the optimiser takes them."""
EPOCH_STEPS: tuple[Callable[[nn.Module, int, int], None], ...] = (
    lambda module, epoch, epochs: set_progress(module, epoch / epochs),
    lambda module, epoch, epochs: set_ghost_noise(module, epoch),
    lambda module, epoch, epochs: set_routing_progress(module, epoch / epochs),
)  # fmt: skip
"""What a network is told when an epoch begins: its number, from 0, of how many."""
OWN_LOSSES: tuple[Callable[[nn.Module], Tensor | None], ...] = (routing_loss, contrast_loss)
"""What layers of a network add to the loss of the training pass that they have just seen; None where nothing."""


def to_float(pixels: NDArray[np.uint8]) -> Tensor:
    """Pixels 0..255 to floats 0..1; a network that wants other statistics learns them in its first batch norm."""
    return torch.from_numpy(pixels.astype(np.float32) / 255.0)


def scores(module: nn.Module, pixels: NDArray[np.uint8], *, batch: int = 256) -> NDArray[np.float32]:
    """Class scores of every image by the float network, (N, classes)."""
    module.eval()
    with torch.no_grad():
        parts = [module(to_float(pixels[i : i + batch])) for i in range(0, len(pixels), batch)]
    return np.asarray(torch.cat(parts).numpy())


def predict(module: nn.Module, pixels: NDArray[np.uint8], *, batch: int = 256) -> NDArray[np.int64]:
    """Class of every image by the float network, (N,)."""
    return np.asarray(scores(module, pixels, batch=batch).argmax(1), np.int64)


def accuracy(module: nn.Module, images: Images) -> float:
    """Share of images that the float network classifies correctly."""
    return float((predict(module, images.x) == images.y).mean())


def measured(
    module: nn.Module, found: Examples, total: Callable[[Tensor, Tensor], Tensor], *, batch: int = 256,
    chosen: NDArray[np.int64] | None = None, device: torch.device = CPU,
) -> float:  # fmt: skip
    """The mean over inputs of what ``total`` sums over a batch of the network's outputs and their targets.

    Parameters
    ----------
    batch : inputs that go through the network together
    chosen : numbers of the inputs; all when None
    """
    module.eval()
    numbers = np.arange(len(found)) if chosen is None else chosen
    sums = 0.0
    with torch.no_grad():
        for x, y in found.batches([numbers[i : i + batch] for i in range(0, len(numbers), batch)]):
            sums += float(total(module(_floats(x, device)), _floats(y, device)))
    return sums / len(numbers)


def _floats(x: Tensor, device: torch.device) -> Tensor:
    """Inputs or targets on their device; pixels, which travel as bytes, as floats 0..1."""
    if x.dtype != torch.uint8:
        return x.to(device)
    return to_float(x.numpy()) if device.type == "cpu" else x.to(device).float() / 255


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Who is told how a run goes; only its first process tells.

    Attributes
    ----------
    step : after every step
    epoch : after every epoch that is kept, with the rows of all
    """

    step: Callable[[Moment], None] = lambda moment: None
    epoch: Callable[[list[EpochRow]], None] = lambda rows: None


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What a network learns in some of its steps, where it learns several things.

    Attributes
    ----------
    name : of it
    found : the training images
    test : the test images; None where nobody asks
    metric : what people read of it
    share : of all steps, relative to the other lessons
    spoils : what befalls inputs, not targets, behind the augmentation of both
    begin : tells the network, before a step of this lesson and before it is tested
    """

    name: str = ""
    found: Examples
    test: Examples | None = None
    metric: Metric
    share: float = 1.0
    spoils: tuple[Augmentation, ...] = ()
    begin: Callable[[nn.Module], None] = lambda module: None


def train_by(
    recipe: TrainingRecipe, module: nn.Module, found: Examples | Sequence[Lesson], *, metric: Metric = ACCURACY,
    twin: Callable[[], nn.Module] | None = None, ranks: Ranks | None = None, keeping: Keeping | None = None,
    resume: bool = False, watch: Watch | None = None,
) -> list[EpochRow]:  # fmt: skip
    """Train ``module`` in place by a recipe and leave it in evaluation mode.

    Parameters
    ----------
    found : the training images; or the lessons in which a network learns several things, of which each step draws one,
        with metrics of their own. An epoch has as many steps as the lesson with the most images asks for, and goes over
        the images of others more than once
    twin : makes the network with multiplications of the same architecture, for distillation
    ranks : the processes that train together; this one alone when None
    keeping : where the state after every epoch is written, whole or not at all; nowhere when None
    resume : go on from that state

    Raises
    ------
    UserError
        for a batch larger than the data, labels out of range, a loss or gradient that is not finite (with its step and
        layer; the last state stays), a state of another run, no room for the state, tasks of a network without.
    """
    lessons = tuple(found) if isinstance(found, Sequence) else (Lesson(found=found, metric=metric),)
    if recipe.tasks is not None and not isinstance(found, Sequence):
        raise UserError("tasks are for networks that have several, such as ipt; this one does one thing")
    run = _Run(
        recipe=recipe, module=module, lessons=lessons, parted=isinstance(found, Sequence), twin=twin,
        ranks=ranks or Ranks(), keeping=keeping, watch=watch or Watch(),
    )  # fmt: skip
    rows = load_state(keeping, run.moving) if resume and keeping is not None else []
    return run.finish(rows)


class _Run:
    def __init__(
        self, *, recipe: TrainingRecipe, module: nn.Module, lessons: tuple[Lesson, ...], parted: bool,
        twin: Callable[[], nn.Module] | None, ranks: Ranks, keeping: Keeping | None, watch: Watch,
    ):  # fmt: skip
        self.recipe, self.lessons, self.parted, self.ranks = recipe, lessons, parted, ranks
        self.keeping, self.watch = keeping, watch
        self.module, self.lesson = module, lessons[0]
        self.trained, self.held_out = _split(max(len(lesson.found) for lesson in lessons), recipe)
        ranks.check(recipe.batch)
        if recipe.routing is not None:
            set_routing(module, recipe.routing)
        if recipe.contrast is not None:
            set_contrast(module, recipe.contrast)
        learner = module if recipe.distil is None else recipe.distil.guided(module, twin, self.lesson.found.shape)
        learner.to(ranks.device)
        self.learner = learner
        self.moving = Moving(
            module=learner,
            optimiser=recipe.optimiser.of(learner),
            average=None if recipe.ema is None else MovingAverage(module, recipe.ema),
            order=Generator().manual_seed(recipe.seed),
        )
        self.output = torch.empty(0)  # of the last pass: its sizes say which targets it may have
        self.replayed = (
            Replayed(self._passes, learner.parameters(), self._check_targets)
            if _recorded(recipe, ranks) and len(lessons) == 1
            else None
        )

    def finish(self, rows: list[EpochRow]) -> list[EpochRow]:
        """Train the epochs that ``rows`` does not have yet; all rows."""
        shared = self.ranks.shared(self.learner, parted=self.parted)
        for epoch in range(len(rows), self.recipe.epochs):
            rows.append(self._epoch(shared, epoch))
            if self.ranks.first:
                if self.keeping is not None:
                    save_state(self.keeping, self.moving, rows)
                self.watch.epoch(rows)
            self.ranks.wait()
        if self.moving.average is not None:
            self.module.load_state_dict(self.moving.average.tensors)
        self.module.eval()
        return rows

    def _epoch(self, shared: nn.Module, epoch: int) -> EpochRow:
        begin = time.perf_counter()
        recipe, ranks = self.recipe, self.ranks
        shared.train()
        for tell in EPOCH_STEPS:
            tell(self.learner, epoch, recipe.epochs)
        if self.replayed is not None:
            self.replayed.forget()
        order = self.trained[torch.randperm(len(self.trained), generator=self.moving.order).numpy()]
        batches = [order[i : i + recipe.batch] for i in range(0, len(order), recipe.batch)]
        batches = [b[: len(b) // ranks.count * ranks.count] for b in batches]
        # A last batch of one image has no batch statistics.
        batches = [b for b in batches if len(b) > ranks.count]
        sums, count, rate = [0.0, 0.0], 0, 0.0
        for step, (x, y) in enumerate(self._taken(batches)):
            rate = recipe.optimiser.learning_rate * recipe.schedule.factor(epoch, recipe.epochs, step, len(batches))
            set_rate(self.moving.optimiser, rate)
            size = len(batches[step])
            x, y = self._augmented(_floats(x, ranks.device), _floats(y, ranks.device), size)
            loss, metric = self._step(shared, x, y, (epoch, step))
            sums, count = [sums[0] + loss * size, sums[1] + metric], count + size
            if ranks.first:
                means = {"loss": sums[0] / count, "metric": sums[1] / count}
                self.watch.step(Moment(epoch=epoch, epochs=recipe.epochs, step=step, steps=len(batches), **means))
        loss, metric = (total / count for total in sums)
        held = self._held_out()
        seconds = time.perf_counter() - begin
        return EpochRow(epoch=epoch + 1, learning_rate=rate, loss=loss, metric=metric, **held, seconds=seconds)

    def _taken(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's part of every batch, of the lesson that is drawn for its step, which has begun."""
        drawn = [0] * len(batches)
        if len(self.lessons) > 1:
            shares = torch.tensor([lesson.share for lesson in self.lessons], dtype=torch.float64)
            drawn = torch.multinomial(shares, len(batches), replacement=True, generator=self.moving.order).tolist()
        ready = [
            lesson.found.batches([
                b[self.ranks.rows] % len(lesson.found) for b, own in zip(batches, drawn, strict=True) if own == number
            ])
            for number, lesson in enumerate(self.lessons)
        ]  # fmt: skip
        for number in drawn:
            self.lesson = self.lessons[number]
            self.lesson.begin(self.module)
            yield next(ready[number])

    def _augmented(self, x: Tensor, y: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """This process's part of a batch of ``size`` images; targets that are images are changed as these are, but for
        what spoils the inputs of a lesson."""
        kinds, order, rows = self.recipe.augment, self.moving.order, self.ranks.rows
        if y.ndim == x.ndim:
            x, y = augmented_pairs(x, y, kinds, order, count=size, rows=rows)
        else:
            x = augmented(x, kinds, order, count=size, rows=rows)
        return augmented(x, self.lesson.spoils, order, count=size, rows=rows), y

    def _step(self, shared: nn.Module, x: Tensor, y: Tensor, place: tuple[int, int]) -> tuple[float, float]:
        """The mean loss of a batch, and the sum of its metric, over all processes."""
        optimiser = self.moving.optimiser
        optimiser.zero_grad()
        sums = self._passes(x, y, shared) if self.replayed is None else self.replayed(x, y)
        loss, metric = self.ranks.summed(sums).tolist()
        loss /= len(x) * self.ranks.count
        self._check_finite(loss, x, place)
        for change in GRADIENT_STEPS:
            change(self.learner)
        optimiser.step()
        if self.moving.average is not None:
            self.moving.average.update(self.module)
        return loss, metric

    def _parts(self, x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Parts of a batch, none of one image, which has no batch statistics."""
        count = max(1, min(self.recipe.accumulate, len(x) // 2))
        return list(zip(x.tensor_split(count), y.tensor_split(count), strict=True))

    def _passes(self, x: Tensor, y: Tensor, shared: nn.Module | None = None) -> Tensor:
        """Gradients of a batch; its loss and its metric, (2,), summed over the images of this process."""
        shared = shared or self.learner
        parts = self._parts(x, y)
        sums = torch.zeros(2, dtype=torch.float64, device=x.device)
        for k, (inputs, targets) in enumerate(parts):
            with self.ranks.alone(shared) if k + 1 < len(parts) else _nothing():
                cost, output = self._cost(shared, inputs, targets)
                (cost if len(parts) == 1 else cost * (len(inputs) / len(x))).backward()
            with torch.no_grad():
                sums += torch.stack([cost.double() * len(inputs), self.lesson.metric.total(output, targets).double()])
        return sums

    def _check_targets(self, x: Tensor, y: Tensor) -> None:
        """As every pass does that is computed as written."""
        for _, targets in self._parts(x, y):
            self.recipe.loss.check(self.output[: len(targets)], targets)

    def _checked(self, output: Tensor, targets: Tensor) -> Tensor:
        self.output = output.detach()
        if not (output.is_cuda and torch.cuda.is_current_stream_capturing()):
            self.recipe.loss.check(output, targets)
        return output

    def _cost(self, shared: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """What is minimised, and what the network itself gives."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            outputs: Any = shared(x)
        if isinstance(self.learner, Guided):
            outputs = tuple(value.float() for value in outputs)
            output = self._checked(outputs[0], y)
            return self._with_own(self.learner.cost(outputs, y, self.recipe.loss)), output
        output = self._checked(outputs.float(), y)
        return self._with_own(self.recipe.loss(output, y)), output

    def _with_own(self, cost: Tensor) -> Tensor:
        own = (loss(self.learner) for loss in OWN_LOSSES)
        return sum((loss for loss in own if loss is not None), cost)

    def _check_finite(self, loss: float, x: Tensor, place: tuple[int, int]) -> None:
        """Raise `UserError` where the loss or a gradient is not finite, in (epoch, step), from 0."""
        fault = None if np.isfinite(loss) else f"the loss is {loss}; {first_fault(self.learner, x)}"
        fault = fault or check_gradients(self.learner)
        if fault is None:
            return
        epoch, step = place
        kept = f"; {self.keeping.path} keeps the state after epoch {epoch}" if self.keeping and epoch else ""
        raise UserError(f"training stopped in epoch {epoch + 1}, step {step + 1}: {fault}{kept}")

    def _held_out(self) -> dict[str, float | None]:
        if not len(self.held_out) or not self.ranks.first:
            return {"held_out_loss": None, "held_out_metric": None}
        loss = self.recipe.loss
        loss_sum, metric_sum = (lambda out, y: loss(out, y) * len(y)), self.lessons[0].metric.total
        loss_mean, metric_mean = (
            measured(self.module, self.lessons[0].found, total, chosen=self.held_out, device=self.ranks.device)
            for total in (loss_sum, metric_sum)
        )
        return {"held_out_loss": loss_mean, "held_out_metric": metric_mean}


def _recorded(recipe: TrainingRecipe, ranks: Ranks) -> bool:
    """Whether passes become a CUDA graph: as the recipe asks, where one process trains on a GPU."""
    return bool(recipe.cuda_graph) and ranks.count == 1 and ranks.device.type == "cuda"


def _split(count: int, recipe: TrainingRecipe) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the images that are trained on, and of those that are held out."""
    if recipe.held_out >= count:
        raise UserError(f"{recipe.held_out} images cannot be held out of {count}")
    if recipe.batch > count - recipe.held_out:
        raise UserError(f"a batch of {recipe.batch} images is larger than the {count - recipe.held_out} to train on")
    if not recipe.held_out:
        return np.arange(count), np.arange(0)
    order = np.random.default_rng(recipe.seed % (1 << 64)).permutation(count)
    return np.sort(order[recipe.held_out :]), np.sort(order[: recipe.held_out])


def _nothing() -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


def train(
    module: nn.Module, images: Images, *, epochs: int, seed: int, batch: int = 64, learning_rate: float = 0.1,
    shift: int = 2, progress: Callable[[int, float], None] = lambda epoch, loss: None,
) -> None:  # fmt: skip
    """Train in place by the default recipe, for scripts.

    Parameters
    ----------
    batch : images of a step; all, where there are fewer
    shift : images are moved by up to this many pixels in each direction and turned and scaled a little
    progress : called after every epoch with its number and mean loss
    """
    recipe = TrainingRecipe(
        epochs=epochs, seed=seed, batch=min(batch, len(images)), optimiser=Sgd(learning_rate=learning_rate),
        augment=(Jitter(shift=shift),),
    )  # fmt: skip
    watch = Watch(epoch=lambda rows: progress(rows[-1].epoch - 1, rows[-1].loss))
    train_by(recipe, module, HeldExamples(images=images), watch=watch)
