"""The table of the ten papers: real steps, real refusals, rows that stand are not run again."""

import csv
import io

import pytest
from addax.common.errors import UserError
from addax.tests.bench import seeds
from addax.tests.bench.seed_papers import PAPERS
from rich.console import Console


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_there_are_ten_papers_each_once():
    assert len({paper.number for paper in PAPERS}) == len({paper.name for paper in PAPERS}) == len(PAPERS) == 10


@pytest.mark.parametrize("paper", [paper for paper in PAPERS if paper.network is not None], ids=lambda own: own.name)
def test_ideas_are_as_their_definitions(paper):
    """Loops and the papers' own numbers; what was compared is said."""
    assert len(paper.check()) > 10


def test_a_step_that_is_refused_is_missing_and_what_stands_is_not_run_again(tmp_path, capsys, monkeypatch):
    """No teacher for detectors, no pruning: the refusals of today, with the date and the command."""
    path = tmp_path / "seeds.csv"
    assert seeds.main(path, ["DeFeat", "SCOP"]) == 0

    said = capsys.readouterr().out
    detectors, pruned = rows_of(path)
    assert (detectors["paper"], pruned["paper"]) == ("2103.14475", "2010.10732")
    assert detectors["algorithm"].startswith("missing: the kind of recipe: distil must be one of logits, pkkd")
    assert detectors["quantised"] == "missing: needs algorithm"
    assert pruned["algorithm"].startswith("missing: ") and pruned["rtl"] == "missing: needs quantised"
    assert "SCOP, algorithm missing: " in said
    assert all(row["command"] == f"python -m tests.bench.seeds {path} {row['name']}" for row in (detectors, pruned))

    monkeypatch.setattr(seeds, "run_paper", lambda paper: pytest.fail(f"{paper.name} runs again"))
    assert seeds.main(path, ["DeFeat", "SCOP"]) == 0
    assert rows_of(path) == [detectors, pruned]


def test_what_differs_is_wrong_and_ends_with_its_status(tmp_path):
    """A row of a CSV in which words of the RTL differ is red, and named."""
    good = dict.fromkeys(seeds.STEPS, "fine")
    row = {**dict.fromkeys(seeds.FIELDS, ""), **good, "name": "TNT", "paper": "2103.00112", "commit": seeds.commit()}
    seeds.append(tmp_path / "seeds.csv", seeds.FIELDS, {**row, "rtl": "wrong: 7 words of 2 images differ"})

    assert seeds.main(tmp_path / "seeds.csv", ["TNT"]) == 3
    text = io.StringIO()
    Console(file=text, width=120).print(seeds.seed_table(rows_of(tmp_path / "seeds.csv")))
    assert "wrong" in text.getvalue() and "fine" in text.getvalue()
    assert list(seeds.refusals(rows_of(tmp_path / "seeds.csv"))) == ["TNT, rtl wrong: 7 words of 2 images differ"]


def test_mistakes_are_one_line():
    with pytest.raises(UserError, match=r"^no paper 'SCOPE'; known: AdderNet, FDA-BNN, DeFeat, FADN, TNT, GhostSR"):
        seeds.asked(["SCOPE"])
    with pytest.raises(UserError, match=r"^one \.csv file is asked for"):
        seeds.asked(["a.csv", "b.csv"])
    path, names = seeds.asked(["a.csv", "TNT"])
    assert (path.name, names) == ("a.csv", ["TNT"]) and len(seeds.asked([])[1]) == 10
