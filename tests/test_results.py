"""Tables of README and docs say what the files of results say."""

import pytest
from result_tables import MARKED, PAGES, ROOT, TABLES, markdown, rows_of, with_tables


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_those_of_the_files(page):
    """Protects readers from figures that nobody measured: `python -m tests.bench.results --write` mends it."""
    text = (ROOT / page).read_text()
    assert with_tables(text) == text


SHOWN = sorted({TABLES[found[2]][0] for page in PAGES for found in MARKED.finditer((ROOT / page).read_text())})


@pytest.mark.parametrize("result", SHOWN)
def test_results_say_where_they_come_from(result):
    """Protects readers from figures of an unknown tree, and from those of hardware that was wrong."""
    rows = rows_of(result)
    assert rows, f"results/{result}.csv has not been measured"
    for row in rows:
        assert row["date"] and row["commit"] and row["tools"]
        assert row.get("mismatches", "0") == "0"


def test_a_table_that_was_edited_is_found():
    """Protects the test above."""
    name = next(iter(TABLES))
    text = f"before\n<!-- results {name} -->\n| 1 |\n<!-- end of results -->\nbehind\n"
    made = with_tables(text)
    assert made != text and made.startswith("before\n") and made.endswith("<!-- end of results -->\nbehind\n")
    assert with_tables(made) == made


def test_a_mark_of_no_result_is_found():
    with pytest.raises(KeyError, match="other"):
        with_tables("<!-- results other -->\n<!-- end of results -->")


def test_a_table_is_markdown():
    assert markdown([["", "a"], ["b", "1"]]) == "|  | a |\n|---|---|\n| b | 1 |\n"
