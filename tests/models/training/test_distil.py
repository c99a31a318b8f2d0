"""Distillation: a student comes nearer to its teacher, whether that is trained or learns alongside."""

import pytest
import torch
import training_runs
from addax.models.files.checkpoint import load_checkpoint, read_checkpoint
from addax.models.training import loop
from addax.models.training.distil import Logits, Pkkd
from addax.models.training.loop import train_by
from addax.models.training.recipe import TrainingRecipe
from addax.models.training.run import Files, train_network
from image_files import refused
from training_runs import FEW, make, same, weights


@pytest.fixture(scope="module")
def few():
    return training_runs.few()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "t.safetensors"
    train_network(
        "lenet5", kernel="mult", source="digits", recipe=TrainingRecipe(epochs=2), files=Files(out=path)
    )  # fmt: skip
    return path


def test_a_student_comes_nearer_to_its_teacher(few, teacher):
    """By its scores and by the features of a layer; the teacher stays as it is."""
    taught, _ = load_checkpoint(teacher)
    x = loop.to_float(few.images.x)

    def distance(weight, features):
        recipe = FEW.changed(
            distil=Logits(teacher=str(teacher), weight=weight, layers=("bn2", "bn4"), features=features), augment=()
        )
        torch.manual_seed(0)
        module = make()
        train_by(recipe, module, few)
        with torch.no_grad():
            return float((module(x) - taught(x)).square().mean())

    assert distance(1.0, 1.0) < 0.8 * distance(0.0, 0.0)
    again, _ = read_checkpoint(teacher)
    assert same(again, weights(taught))


def test_pkkd_trains_both_and_keeps_the_student(few):
    twins = []

    def twin():
        twins.append(make())
        return twins[0]

    torch.manual_seed(0)
    student = make("adder")
    names = set(student.state_dict())
    rows = train_by(FEW.changed(distil=Pkkd()), student, few, twin=twin)

    torch.manual_seed(0)
    make("adder")
    assert not same(weights(twins[0]), weights(make()))
    assert set(student.state_dict()) == names and not student.training
    assert rows[-1].loss < rows[0].loss


@pytest.mark.parametrize(
    ("distil", "kernel", "message"),
    [
        (Pkkd(), "mult", "pkkd is for adder networks"),
        (Logits(teacher="gone.safetensors"), "mult", "no file at gone.safetensors"),
        (Logits(teacher="TEACHER", layers=("bn9",)), "mult", "the student has no layer 'bn9'"),
    ],
)
def test_a_teacher_that_cannot_teach_is_named(few, teacher, distil, kernel, message):
    if isinstance(distil, Logits) and distil.teacher == "TEACHER":
        distil = Logits(teacher=str(teacher), layers=distil.layers)

    with refused(message):
        train_by(FEW.changed(distil=distil), make(kernel), few, twin=make)
