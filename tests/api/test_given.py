"""Networks whose input is no image of bytes, by the front door: arrays of their integers, and data sets by name."""

import numpy as np
import pytest
from addax.api import Network
from addax.cli import main
from addax.common.errors import UserError
from addax.models.data import samples
from addax.quant import golden
from addax.quant.files.archive import save_program
from addax.quant.formats import signed
from inputs import values_for, with_input

SIGNED = with_input(signed(12), "mult")


def test_array_of_its_integers_is_run_and_evaluated():
    values = values_for(SIGNED, 6)
    expected = golden.run(SIGNED, values)
    network = Network(program=SIGNED)

    assert "2x4x4 int12" in repr(network)
    assert np.array_equal(network.run(values).scores, expected.scores)
    assert network.evaluate((values, expected.classes)).accuracy == 1
    assert network.evaluate((values, expected.classes.tolist()), limit=4).images == 4


@pytest.mark.parametrize("images", ["digits", [1, 2], samples("digits", "test", limit=2), np.zeros((1, 2, 4, 4))])
def test_data_sets_are_refused(images):
    """Their bytes would be other integers than the network was made for."""
    with pytest.raises(UserError, match=r"the network takes int12, and data sets hold unsigned bytes|must be int12"):
        Network(program=SIGNED).run(images)


def test_labels_are_needed_and_checked():
    values = values_for(SIGNED, 6)

    for images, message in (
        (values, "have no labels"),
        ((values, [0] * 5), "labels of the array must be 6 integers"),
        ((values, [-1] * 6), "must be in 0"),
    ):
        with pytest.raises(UserError, match=message):
            Network(program=SIGNED).evaluate(images)


def test_command_line_names_what_it_cannot_give(tmp_path, capsys):
    save_program(tmp_path / "p.addax", SIGNED)

    assert main(["evaluate", str(tmp_path / "p.addax"), "--data", "digits"]) == 1
    assert "the network takes int12, and data sets hold unsigned bytes" in capsys.readouterr().err
