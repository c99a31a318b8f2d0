"""docs/api-reference.md is what the docstrings say today, and every public name has one."""

import addax
from api_reference import FILE, reference


def test_the_page_is_made_of_the_docstrings():
    """Protects readers from a page that was right once: `python tests/support/api_reference.py` makes it anew."""
    assert FILE.read_text() == reference()
    assert "None\n```" not in reference(), "something public has no docstring"
    assert all(f"`addax.{name}`" in reference() or name == "nn" for name in addax.__all__)
