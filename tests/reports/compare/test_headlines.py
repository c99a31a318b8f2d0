"""Claims of papers beside ours: published figures with their sources, ours counted, never typed."""

import json
import re

import pytest
from addax.common.errors import UserError
from addax.models.nets.zoo import counts_of
from addax.reports.compare.headlines import headlines_document, published_papers, write_headlines
from addax.reports.kernels.published import PAPER, published

SEEDS = (
    "2101.10015", "2103.00841", "2103.14475", "2103.08357", "2103.00112", "2101.08525", "2012.12556", "2012.00364",
    "2010.14819", "2010.10732",
)  # fmt: skip
KEYS = {"paper", "name", "claim", "unit", "low", "high", "ours", "answer", "off", "command", "why", "source"}


@pytest.fixture(scope="module")
def rows():
    return headlines_document()["rows"]


def test_every_paper_stands_there_with_a_source(rows):
    """What is not measured says why; what is says by which command."""
    assert published_papers() == SEEDS and list(dict.fromkeys(row["paper"] for row in rows)) == list(SEEDS)
    for row in rows:
        assert row.keys() == KEYS and row["source"] and bool(row["command"]) != bool(row["why"])
        assert row["low"] is row["high"] is None or row["low"] <= row["high"]


def test_ours_are_counted(rows):
    """From the zoo, and what they are off by worked out again."""
    found = {row["claim"]: row for row in rows}
    tiny = found["TinyNet-E, MACs"]
    assert tiny["ours"] == counts_of("tinynet-e").macs and tiny["command"] == "addax zoo tinynet-e"
    assert tiny["off"] == pytest.approx(100 * (tiny["ours"] / 24e6 - 1)) and abs(tiny["off"]) < 3
    ghost = found["EDSR x2 with half of its channels moved, parameters"]
    share = counts_of("ghostsr-x2").parameters / counts_of("edsr-x2").parameters - 1
    assert ghost["ours"] == pytest.approx(100 * share) and ghost["off"] == 0  # -46.4, between the two versions' figures
    macs = found["EDSR x2 with half of its channels moved, MACs"]
    assert macs["off"] == pytest.approx(macs["ours"] + 46) and macs["ours"] == pytest.approx(-46.3, abs=0.05)


def test_counted_claims_agree(rows):
    """Networks are the papers' own: nothing counted is 2 % or points off, and papers round."""
    counted = {row["claim"]: row["off"] for row in rows if row["ours"] is not None}
    assert len(counted) == 14
    assert all(abs(off) < 2 for off in counted.values()), counted


@pytest.fixture
def comparison(tmp_path):
    """A comparison with invented figures of our own."""
    claims = [
        {"claim": f"{claim['kernel']}: {claim['of']}", "paper": "?", "ours": f"ours {number}", "note": claim["source"]}
        for number, claim in enumerate(published()["claim"])
    ]
    terms = {"network": "lenet5", "device": "ecp5-85k", "bits": 8, "clock_mhz": 50.0, "seeds": 1}
    path = tmp_path / "compare.json"
    path.write_text(json.dumps({"terms": terms, "claims": claims}))
    return path


def test_a_comparison_answers_what_is_said_of_kernels(comparison, rows):
    """Each claim of the abstract by its own answer, not by that of another paper's claim of the same kind."""
    found = headlines_document("2101.10015", comparison)
    own = [number for number, claim in enumerate(published()["claim"]) if PAPER in claim["source"]]

    assert [row["answer"] for row in found["rows"]] == [f"ours {number}" for number in own]
    assert found["compared"]["device"] == "ecp5-85k"
    assert {row["answer"] for row in rows} == {None}


@pytest.mark.parametrize("content, says", [
    ("[]", "is not a compare.json of 'addax compare'"),
    ('{"terms": {}}', "has no 'network'"),
    ('{"terms": {"network": 1, "device": 1, "bits": 1, "clock_mhz": 1}, "claims": []}', "answers no claim"),
    ('{"terms": {"network": 1, "device": 1, "bits": "x", "clock_mhz": 1}}', "is not a compare.json of 'addax compare'"),
    ("{", "is not a compare.json of 'addax compare'"),
])  # fmt: skip
def test_what_is_no_comparison_is_refused(tmp_path, content, says):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match=re.escape(says)):
        headlines_document(compared=tmp_path / "x.json")


def test_a_paper_without_claims_is_refused():
    with pytest.raises(UserError, match=r"no claims of '1234\.5678'; known: 2101\.10015, 2103\.00841"):
        headlines_document("1234.5678")


def test_every_number_on_the_page_is_that_of_the_document(comparison, tmp_path):
    document = headlines_document(compared=comparison)
    file, page = write_headlines(
        document,
        tmp_path / "out",
        {"date": "d", "addax": "0", "python": "3", "commit": "c", "seeds": [], "command": ""},
    )
    told = json.loads(file.read_text())
    shown = re.findall(r'data-path="([^"]+)" value="([^"]*)"', page.read_text())

    assert told["rows"] == document["rows"] and len(shown) > 40
    for path, value in shown:
        found = told
        for step in path.split("."):
            found = found[int(step)] if isinstance(found, list) else found[step]
        assert str(found) == value, path
