"""The examples of the documentation run as they stand."""

import re
from pathlib import Path

import numpy as np

DOCS = Path(__file__).parents[2] / "docs"


def test_the_example_of_a_network_of_ones_own_runs(capsys):
    """Protects readers from an example that no longer works."""
    (example,) = re.findall(r"```python\n(.*?)```", (DOCS / "quantisation.md").read_text(), re.DOTALL)
    names = {"__name__": "example"}
    exec(compile(example, "quantisation.md", "exec"), names)

    assert names["result"].scores.shape == (16, 10)
    assert len(np.unique(names["result"].scores)) > 1
    assert "classifier" in capsys.readouterr().out
