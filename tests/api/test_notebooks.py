"""The notebooks of the documentation run as they stand, from the first cell to the last."""

import sys
import warnings
from pathlib import Path

import addax
import pytest
from marks import GUARD

ROOT = Path(addax.__file__).parent
SHARED = ROOT.parent / "shared" / "data" / "fashion_mnist"
NOTEBOOKS = ("own_network", "brevitas_and_qonnx")
pytestmark = list(GUARD)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    """Protects what people copy: cells hold assertions of their own, and none may fail or warn of an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own event loops
        import nbformat
        from nbclient import NotebookClient

        assert SHARED.is_dir(), f"no {SHARED}, which the notebooks read"
        monkeypatch.setenv("FASHION_MNIST", str(SHARED))
        monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
        monkeypatch.setenv("PATH", f"{sys.prefix}/bin:/usr/bin:/bin")
        book = nbformat.read(ROOT / "docs" / "notebooks" / f"{name}.ipynb", as_version=4)
        NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in book.cells for output in cell.get("outputs", ())]
    assert any("text/html" in output.get("data", {}) for output in shown), "objects show themselves as pages"
    assert not any(output["output_type"] == "error" for output in shown)
