"""The forms of PyTorch that have been filed, of ../shared/cases/forms.py: networks by name, and what is refused."""

from pathlib import Path

__all__ = ["CASES", "REFUSED", "filed_forms"]

CASES = Path(__file__).parents[4] / "shared" / "cases"
REFUSED = {
    "GroupNorm": "aten.group_norm", "control flow sum()>0": "depends on values of a tensor",
}  # fmt: skip
"""By form: what its refusal names."""


def filed_forms():
    """The table as it stands: networks by the names of their forms, and images for them."""
    path, names = CASES / "forms.py", {}
    text = path.read_text().replace("addax.models.adder", "addax.models.layers.adder").partition("\nok=0\n")[0]
    exec(compile(text.replace("from addax.quant.lower import lower", ""), str(path), "exec"), names)
    return names["T"], names["img"]
