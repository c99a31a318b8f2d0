"""Passes that are recorded as CUDA graphs. No machine here has a GPU: what records is stood in for by what computes the
pass again into the same memory, as a graph does; that torch can record a pass is not tested."""

import pytest
import torch
import training_runs
from addax.models.data.examples import HeldExamples
from addax.models.training import loop
from addax.models.training.graphs import Replayed
from addax.models.training.ranks import Ranks
from image_files import refused
from torch import nn
from training_runs import FEW, same, trained

RECORDING = FEW.changed(batch=16, cuda_graph=True)


class Graphs:
    """Stands in for CUDA's, and counts."""

    def __init__(self, parameters):
        self.parameters, self.recorded, self.replays = list(parameters), 0, 0

    def __call__(self, work):
        result = work()
        self.recorded += 1
        kept = [p.grad for p in self.parameters]

        def again():
            self.replays += 1
            for p in self.parameters:
                p.grad = None
            result.copy_(work())
            for own, p in zip(kept, self.parameters, strict=True):
                own.copy_(p.grad)

        return result, again


@pytest.fixture
def made(monkeypatch):
    """The graphs that runs make, as if they were on a GPU."""
    found = []

    def replayed(work, parameters, check):
        found.append(Graphs(parameters))
        return Replayed(work, found[-1].parameters, check, capture=found[-1])

    monkeypatch.setattr(loop, "Replayed", replayed)
    monkeypatch.setattr(loop, "_recorded", lambda recipe, ranks: bool(recipe.cuda_graph))
    return found


@pytest.fixture(scope="module")
def few():
    return training_runs.few()


@pytest.mark.parametrize("how", [{}, {"accumulate": 3}, {"ema": 0.9}])
def test_recorded_passes_train_to_the_same_weights(few, made, how):
    """100 images are six batches of 16 and one of 4: three passes as written, three replayed, and one of its own."""
    recipe = RECORDING.changed(**how)
    found, rows = trained(few, recipe)
    assert (made[0].recorded, made[0].replays) == (recipe.epochs, 3 * recipe.epochs)
    wanted, others = trained(few, recipe.changed(cuda_graph=False))
    assert len(made) == 1 and same(found, wanted)
    assert [row.loss for row in rows] == [row.loss for row in others]


def test_labels_are_looked_at_before_a_replay(few, made):
    """On a GPU one out of range would end the process; a recorded pass cannot raise."""
    images = few.images
    labels = images.y.copy()
    labels[-1] = 10
    wrong = HeldExamples(images=type(images)(x=images.x, y=labels))
    with refused("the network tells 10 classes apart, but there is a label 10"):
        for seed in range(9):  # which batch has it depends on the order
            trained(wrong, RECORDING.changed(seed=seed, batch=12))


def test_other_shapes_have_graphs_of_their_own():
    module = nn.Linear(2, 1)
    made = Graphs(module.parameters())
    work = Replayed(lambda x, y: _backward(module(x).sum()), module.parameters(), lambda x, y: None, made)
    for count in (3, 2, 3, 2, 3, 2, 3, 2, 3, 2):
        module.zero_grad()
        assert torch.equal(work(torch.full((count, 2), 1.0), torch.zeros(1)), module(torch.ones(count, 2)).sum())
        assert module.bias.grad.item() == count
    assert (made.recorded, made.replays) == (2, 4)


def _backward(loss):
    loss.backward()
    return loss.detach().clone()


@pytest.mark.parametrize(
    ("asked", "ranks", "wanted"),
    [(True, Ranks(device=torch.device("cuda")), True), (None, Ranks(device=torch.device("cuda")), False),
     (True, Ranks(), False), (True, Ranks(count=2, device=torch.device("cuda")), False)],
)  # fmt: skip
def test_passes_are_recorded_where_one_process_trains_on_a_gpu(asked, ranks, wanted):
    assert loop._recorded(FEW.changed(cuda_graph=asked), ranks) is wanted
