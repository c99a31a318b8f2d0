"""Networks with several tasks, trained in one of them and in turns: what each step draws, sees and leaves alone."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from addax.models.data.augment import Flip, Patch
from addax.models.data.degrade import GaussianNoise, RainStreaks
from addax.models.data.picture_tasks import PICTURE_TASKS
from addax.models.data.quality import psnr
from addax.models.data.tiles import TileExamples
from addax.models.nets.transformers.ipt import IPT, IPT_TASKS
from addax.models.nets.zoo import NETWORKS
from addax.models.training.history import Moment
from addax.models.training.loop import Lesson, Watch, measured, train_by
from addax.models.training.objective import Alternation, CrossEntropy, peak_ratio
from addax.models.training.recipe import read_recipe, recipe_of, recipe_toml
from addax.models.training.state import Keeping
from addax.models.training.tasks import Enlarging, Processing, task_of
from image_files import pixels, refused
from safetensors.torch import load_file
from training_runs import StoppedError, same, stop_after, weights

SIDE = 6
TASK = Processing(tasks=tuple(IPT_TASKS), channels=1, patch=SIDE)
RECIPE = TASK.recipe.changed(epochs=2, batch=2, augment=(Patch(size=SIDE), Flip()))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Grey pictures of large squares, two to learn from and two to test."""
    folder = tmp_path_factory.mktemp("pictures")
    for split in ("train", "test"):
        (folder / split).mkdir()
        for k in range(2):
            image = pixels(1, 3, 3 + k, 1, seed=10 * k + len(split))[0, ..., 0].repeat(8, 0).repeat(8, 1)
            np.save(folder / split / f"p{k}.npy", image)
    return str(folder)


def tiny(*tasks):
    torch.manual_seed(0)
    size = {"shape": (1, SIDE, SIDE), "pixels": SIDE, "overlap": 2}
    return IPT(tasks=tasks or tuple(IPT_TASKS), features=2, heads=2, blocks=1, **size)


def run(source, recipe=RECIPE, net=None, **how):
    net = net or tiny()
    found = TASK.material(source, recipe, workers=0)
    return net, train_by(recipe, net, found.lessons, **how), found


def tasks(*names, shares=()):
    return Alternation(names=names, shares=shares)


def watched(net):
    """The tasks in which ``net`` does its training passes from now on, in order."""
    seen = []
    net.register_forward_hook(lambda module, given, result: seen.append(module.tasks[module.task]))
    return seen


@pytest.mark.parametrize("name", IPT_TASKS)
def test_one_task_is_learned_alone(source, name):
    """Layers of its own and those that all share move, and no layer of another task does."""
    net = tiny()
    before, seen = {key: value.clone() for key, value in net.state_dict().items()}, watched(net)
    run(source, RECIPE.changed(epochs=1, tasks=tasks(name)), net)

    number = list(IPT_TASKS).index(name)
    moved = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert set(seen) == {name} and len(seen) >= 1
    own = {key for key in moved if key.startswith(("head.", "tail."))}
    assert own and all(key.split(".")[1] == str(number) for key in own)
    assert any(key.startswith("body.encoder") for key in moved)
    changed = (net.body.queries.detach() - before["body.queries"]).abs().flatten(1).sum(1)
    assert [bool(value) for value in changed] == [k == number for k in range(6)]


def test_what_a_step_is_given_is_that_of_its_task(source):
    """Small pictures of small patches of large ones, noise of its deviation on clean ones, rain that only adds."""
    net, given = tiny(), {}
    net.register_forward_hook(
        lambda module, x, made: given.setdefault(module.tasks[module.task], []).append((x[0].detach(), made.shape))
    )
    found = TASK.material(source, RECIPE, workers=0)
    lessons = {lesson.name: lesson for lesson in found.lessons}
    _, rows, _ = run(source, RECIPE.changed(epochs=4), net)

    assert set(given) == set(IPT_TASKS) and all(np.isfinite(row.loss) for row in rows)
    for name, passes in given.items():
        assert all(shape[-1] == SIDE * IPT_TASKS[name] for _, shape in passes)
        x = torch.cat([x for x, _ in passes])
        assert float((x * 255 - (x * 255).round()).abs().max()) < 1e-4
    # Patches of these pictures are nearly flat, so that what varies within them is noise.
    inputs = {name: torch.cat([x for x, _ in passes]) for name, passes in given.items()}
    rough = {name: float(x.diff(dim=3).abs().median()) for name, x in inputs.items()}
    assert rough["derain"] < 0.03 < rough["denoise-30"] < rough["denoise-50"]
    assert lessons["denoise-30"].spoils == (GaussianNoise(sigma=30),) and lessons["derain"].spoils == (RainStreaks(),)
    assert not lessons["x3"].spoils and lessons["denoise-50"].found.pairs.clean


def test_steps_draw_tasks_by_their_shares(source):
    """Each step one; all six in equal shares where nobody says otherwise."""
    recipe = RECIPE.changed(epochs=12, tasks=tasks("x4", "derain", shares=(1, 3)))
    net = tiny()
    seen = watched(net)
    run(source, recipe, net)
    share = seen.count("derain") / len(seen)
    assert set(seen) == {"x4", "derain"} and abs(share - 0.75) < 4 * (0.75 * 0.25 / len(seen)) ** 0.5

    found = TASK.material(source, RECIPE, workers=0)
    assert [(lesson.name, lesson.share) for lesson in found.lessons] == [(name, 1.0) for name in IPT_TASKS]


@pytest.mark.parametrize("alternation", [None, tasks("denoise-30"), tasks("derain", "x2", shares=(2, 1))])
def test_a_run_that_stopped_goes_on_to_the_same_bits(source, tmp_path, alternation):
    """Tasks, noise and rain are drawn again as they would have been."""
    recipe = RECIPE.changed(tasks=alternation)

    def keeping(name):
        return Keeping(path=tmp_path / name, told={"recipe": recipe.values()})

    whole, rows, _ = run(source, recipe, keeping=keeping("a"))
    with pytest.raises(StoppedError):
        run(source, recipe, keeping=keeping("b"), watch=stop_after(1))
    torch.rand(3)
    again, more, _ = run(source, recipe, keeping=keeping("b"), resume=True)

    assert same(weights(whole), weights(again))
    assert [(row.loss, row.metric) for row in rows] == [(row.loss, row.metric) for row in more]


def test_noise_of_a_step_is_new_and_that_of_a_test_is_not(source):
    net, given = tiny(), []
    net.register_forward_hook(lambda module, x, made: given.append(x[0].detach()))
    recipe = RECIPE.changed(epochs=2, tasks=tasks("denoise-50"), augment=(Patch(size=SIDE),))
    _, _, found = run(source, recipe, net)
    first, second = found.lessons[0].test, TASK.material(source, recipe, workers=0).lessons[0].test

    assert all(not torch.equal(one, other) for k, one in enumerate(given) for other in given[k + 1 :])
    for one, other in zip(first.pairs.pairs, second.pairs.pairs, strict=True):
        assert np.array_equal(one.low, other.low) and not np.array_equal(one.low, one.high)


def test_one_lesson_draws_nothing_more_than_no_lessons(source):
    """Protects runs of before: the numbers of a network without tasks stay."""
    pairs = PICTURE_TASKS["x2"].clean_pairs(source, "train", channels=1)
    examples = TileExamples(pairs=pairs, patch=SIDE)
    plain, taught = tiny("x2"), tiny("x2")

    train_by(RECIPE, plain, examples, metric=peak_ratio(2))
    train_by(RECIPE, taught, [Lesson(found=examples, metric=peak_ratio(2))])

    assert same(weights(plain), weights(taught))


def test_the_figure_of_a_task_is_that_of_its_papers(source):
    """Of noise all channels of whole pictures, tile by tile, nothing cut off; by hand."""
    net, _, found = run(source, RECIPE.changed(epochs=1, tasks=tasks("denoise-30")))
    lesson = found.lessons[0]

    figure = measured(net, lesson.test, lesson.metric.total, batch=1)

    by_hand = []
    for pair in lesson.test.pairs.pairs:
        with torch.no_grad():
            made = (net(torch.from_numpy(pair.low / np.float32(255))[None]) * 255).round().clamp(0, 255)
        assert made.shape[1:] == pair.high.shape
        error = ((made[0].double().numpy() - pair.high) ** 2).mean()
        by_hand.append(10 * np.log10(255**2 / error))
    assert figure == pytest.approx(np.mean(by_hand))
    colours = torch.rand(1, 3, 12, 12), torch.rand(1, 3, 12, 12)
    for name, border, colour in (("denoise-30", 0, True), ("derain", 0, False), ("x3", 3, False)):
        metric = Processing(tasks=(name,), channels=3, patch=SIDE).metric
        wanted = psnr(*((image * 255).round() for image in colours), border, colour=colour)
        assert float(metric.total(*colours)) == pytest.approx(float(wanted))


def test_progress_counts_the_steps_of_all_lessons(source):
    moments: list[Moment] = []
    run(source, RECIPE.changed(epochs=1), watch=Watch(step=moments.append))
    found = TASK.material(source, RECIPE, workers=0)

    tiles = max(len(lesson.found) for lesson in found.lessons)
    assert tiles > min(len(lesson.found) for lesson in found.lessons)
    assert [moment.step for moment in moments] == list(range(moments[0].steps))
    assert moments[0].steps == tiles // 2


def test_a_recipe_says_tasks(tmp_path):
    """There and back through TOML."""
    text = '[tasks]\nnames = ["derain", "x2"]\nshares = [1, 2.5]\n'
    (tmp_path / "r.toml").write_text(text)
    recipe = read_recipe(tmp_path / "r.toml", usual=TASK.recipe)

    assert recipe.tasks == tasks("derain", "x2", shares=(1, 2.5))
    (tmp_path / "again.toml").write_text(recipe_toml(recipe))
    assert read_recipe(tmp_path / "again.toml") == recipe
    for name, patch in (("ipt", 48), ("ipt-derain", 48)):
        assert task_of(NETWORKS[name]).recipe.augment[0] == Patch(size=patch)
    assert task_of(NETWORKS["ipt-derain"]) == Processing(tasks=("derain",), channels=3, patch=48)


def test_mistakes_are_one_line(source):
    for values, line in (
        ({"names": "x2"}, "r: tasks: names must be an array, not 'x2'"),
        ({"names": []}, "r: tasks: names must be one task or more, in quotes, not []"),
        ({"names": [2]}, "r: tasks: names must be one task or more, in quotes, not [2]"),
        ({"names": ["x2", "x2"]}, "r: tasks: names must be different tasks, not x2, x2"),
        ({"names": ["x2"], "shares": [1, 2]}, "r: tasks: shares must be one for each of 1 tasks, not 2"),
        ({"names": ["x2"], "shares": [0]}, "r: tasks: share must be a number in 1e-06"),
        ({"name": ["x2"]}, "r: tasks has no 'name'; known: names, shares"),
        (["x2"], "r: tasks must be a table, not ['x2']"),
    ):
        with refused(line):
            recipe_of({"tasks": values}, "r")
    few = Processing(tasks=("x2", "derain"), channels=1, patch=SIDE)
    with refused("the network has the tasks x2, derain, not x3"):
        few.material(source, RECIPE.changed(tasks=tasks("x2", "x3")), workers=0)
    with refused("pictures of a network with tasks cannot be held out; leave held_out out"):
        few.material(source, RECIPE.changed(held_out=1), workers=0)
    with refused("the recipe needs an augment of kind patch"):
        few.material(source, RECIPE.changed(augment=(Flip(),)), workers=0)
    with refused("to train, nowhere must hold a folder train and a folder test"):
        few.material("nowhere", RECIPE, workers=0)
    with refused("tasks are for networks that have several, such as ipt; this one does one thing"):
        examples = Enlarging(scale=2, channels=1).material(source, RECIPE, workers=0).train
        train_by(RECIPE.changed(tasks=tasks("x2")), tiny("x2"), examples, metric=peak_ratio(2))
    with refused("cross entropy compares scores with classes"):
        run(source, RECIPE.changed(loss=CrossEntropy()))


WORKER = """
import sys
import torch
from addax.models.nets.transformers.ipt import IPT
from addax.models.training.objective import Alternation
from addax.models.training.loop import train_by
from addax.models.training.ranks import started_ranks
from addax.models.training.schedule import Sgd
from addax.models.training.tasks import Processing
from addax.models.data.augment import Flip, Patch
from safetensors.torch import save_file

if __name__ == "__main__":
    task = Processing(tasks=("x2", "denoise-50", "derain"), channels=1, patch=6)
    recipe = task.recipe.changed(
        epochs=1, batch=4, augment=(Patch(size=6), Flip()), optimiser=Sgd(learning_rate=0.05),
        tasks=Alternation(names=("denoise-50", "x2")),
    )
    torch.manual_seed(0)
    net = IPT(tasks=task.tasks, shape=(1, 6, 6), features=2, heads=2, blocks=1, pixels=6, overlap=2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with started_ranks() as ranks:
        train_by(recipe, net, task.material(sys.argv[2], recipe, workers=0).lessons, ranks=ranks)
        moved = max(float((value - before[name]).abs().max()) for name, value in net.state_dict().items())
        assert moved > 1e-3, moved
        save_file(net.state_dict(), f"{sys.argv[1]}-{ranks.rank}")
"""


@pytest.mark.slow
def test_two_processes_learn_tasks_as_one_does(source, tmp_path):
    """Layers of other tasks have no gradient, and all processes draw the same tasks, noise and patches."""
    (tmp_path / "worker.py").write_text(WORKER)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for start, name in (([sys.executable], "one"), (torchrun, "two")):
        subprocess.run(
            [*start, str(tmp_path / "worker.py"), name, source], cwd=tmp_path, check=True, capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    one, first, second = (load_file(tmp_path / name) for name in ("one-0", "two-0", "two-1"))
    assert same(first, second)
    assert all(torch.allclose(one[name], first[name], atol=1e-4) for name in one)
