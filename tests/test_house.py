"""The order of the house: whoever reads a room knows that it needs only those before it."""

import ast
import itertools
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import pairwise
from pathlib import Path

import addax
import pytest

ROOT = Path(addax.__file__).parent
ORDER = {
    "": ("common", "models", "nn", "quant", "hdl", "sim", "reports", "api", "cli"),
    "models": ("checkpoints", "compute", "layers", "nets", "data", "files", "training"),
    "quant": (
        "qonnx_ops", "formats", "ops", "program", "golden", "fold", "lower", "qat", "files", "onnx", "published",
        "export", "builder", "sources", "enlarging", "quantize",
    ),
    "hdl": (
        "verilog", "blocks", "timing", "capacity", "cells", "memory", "streams", "bus", "interface", "family", "lanes",
        "maps", "activation", "constant", "dataflow", "engine", "board", "folder",
    ),
    "reports": (
        "tools", "devices", "synth", "estimate", "fit", "power", "kernels", "cells", "page", "engine", "compare",
        "planning", "terminal", "demo",
    ),
}  # fmt: skip
"""Rooms of each folder, each of which may import from those before it."""
CODE = sorted(path for top in ORDER[""] for path in [*(ROOT / top).rglob("*.py"), *ROOT.glob(f"{top}.py")])


def imports(path):
    """Modules of this package that a file imports, as tuples of names below the root; not what only types need."""
    tree = ast.parse(path.read_text())
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and id(node) not in typing:
            base = package[: len(package) - node.level + 1] + tuple(
                (node.module or "").split(".") if node.module else ()
            )
            for name in node.names:
                module = (*base, name.name)
                yield (
                    module
                    if ROOT.joinpath(*module).is_dir() or ROOT.joinpath(*module).with_suffix(".py").exists()
                    else base
                )


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


@pytest.mark.parametrize("folder", ORDER)
def test_rooms_import_only_from_those_before_them(folder):
    """Protects the one direction of data: a circle would make both rooms one."""
    order = ORDER[folder]
    depth = len([folder] if folder else [])
    wrong = []
    for path in CODE:
        module = module_of(path)
        if (folder and module[0] != folder) or len(module) <= depth:
            continue
        room = module[depth]
        assert room in order, f"{'/'.join(module)} stands in no room of the order"
        for other in imports(path):
            if len(other) <= depth or other[:depth] != module[:depth] or other[depth] == room:
                continue
            if other[depth] in order and order.index(other[depth]) > order.index(room):
                wrong.append(f"{'/'.join(module)} imports {'/'.join(other)}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", [folder for folder in ORDER if folder])
def test_the_page_about_the_house_lists_the_same_rooms(folder):
    """docs/architecture.md is where newcomers look."""
    assert f"| `{folder}` | {', '.join(ORDER[folder])} |" in (ROOT / "docs" / "architecture.md").read_text()


def test_no_module_imports_itself_by_way_of_others():
    """Protects reading: of two modules that need each other, none can be understood first."""
    edges = {module_of(path): {other for other in imports(path)} for path in CODE}
    done, way = set(), []

    def visit(module):
        if module in way:
            circle = [*way[way.index(module) :], module]
            pytest.fail(" -> ".join("/".join(step) for step in circle))
        if module in done or module not in edges:
            return
        way.append(module)
        for other in sorted(edges[module]):
            visit(other)
        way.pop()
        done.add(module)

    for module in sorted(edges):
        visit(module)


def test_packages_and_their_files_are_all_in_the_wheel():
    """pyproject.toml lists them by hand: a folder or a kind of file that it forgets is missing only for users."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent for path in CODE}
    named = {ROOT.joinpath(*name.split(".")[1:]) for name in setuptools["packages"]}
    assert folders <= named | {ROOT}
    assert all(a < b for a, b in pairwise(setuptools["packages"])), "packages stand in alphabetical order"
    for top in ORDER[""]:
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and path.suffix not in {".py", ".pyc", ".md"}:
                package = ".".join(("addax", *path.relative_to(ROOT).parent.parts))
                assert f"*{path.suffix}" in setuptools["package-data"].get(package, ()), path


KNOW_A_FAMILY = (("reports", "estimate", "dataflow"), ("reports", "fit", "samples"))
"""What counts the stages of the dataflow family, and what draws random ones to learn their cost from."""


def test_simulation_and_reports_ask_the_design_and_know_no_family():
    """Another family needs no change there, see `hdl.family`."""
    wrong = [
        f"{'/'.join(module)} imports {'/'.join(other)}"
        for path in CODE
        for module in [module_of(path)]
        if module[0] in ("sim", "reports") and not any(module[: len(own)] == own for own in KNOW_A_FAMILY)
        for other in imports(path)
        if other[:2] == ("hdl", "dataflow")
    ]
    assert not wrong, "\n".join(wrong)


def functions(path):
    """Functions and methods of a file, those inside others included, and their lines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.end_lineno - node.lineno + 1


LONG_FUNCTIONS = {
    "quant/fold/factors.py fold_scale": "one derivation, whose steps share their terms",
    "sim/cosim.py simulate": "one run from bench to verdict",
}
"""Functions of more than 60 lines, and why."""


def test_files_folders_and_functions_stay_small():
    """Protects reading: one idea fits on a screen or few, and an exception goes from its list when it is gone."""
    names = {path: str(path.relative_to(ROOT)) for path in CODE}
    tests = (ROOT / "tests").rglob("*.py")
    assert not [str(path) for path in (*CODE, *tests) if len(path.read_text().splitlines()) > 500]
    assert not {folder for folder in {path.parent for path in CODE} if len([*folder.glob("*.py")]) > 16}
    long = {f"{names[path]} {name}" for path in CODE for name, lines in functions(path) if lines > 60}
    assert long == set(LONG_FUNCTIONS)


def foreign(path):
    """Top packages that a file imports and that are neither this one nor Python's own."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def test_what_is_imported_is_declared():
    """What comes only with something else goes when that no longer needs it."""

    def plain(name):
        return re.match(r"[\w.-]+", name)[0].lower().replace("_", "-")

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = (project["optional-dependencies"][name] for name in ("images", "gpu"))
    declared = {plain(name) for name in itertools.chain(project["dependencies"], *extras)}
    brought = packages_distributions()
    for path in CODE:
        if path.parent.name == "qonnx_ops":
            continue  # for qonnx to load: who has not installed it never imports this
        for name in set(foreign(path)) - sys.stdlib_module_names:
            assert any(plain(wheel) in declared for wheel in brought[name]), f"{path} imports {name}"


def words(path):
    """Classes and constants that a file defines and offers in its ``__all__``."""
    body = ast.parse(path.read_text()).body
    made = {node.name for node in body if isinstance(node, ast.ClassDef)}
    offered = set()
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
            if names == {"__all__"}:
                offered = set(ast.literal_eval(node.value))
            made |= names
    return made & offered


SAME_WORD = {
    "Build": "what scripts hold of a BUILD stands in front of the folder itself",
    "Report": "what scripts hold of a report stands in front of the files themselves",
    "KERNELS": "a kernel is a torch layer and an integer term; both tables name the same four",
    "Requantise": "QONNX knows our operation by the name that it has in a Program",
    "SpatialShift": "QONNX knows our operation by the name that it has in a Program",
    "Threshold": "QONNX knows our operation by the name that it has in a Program",
    "Table": "a memory of hardware that looks words up by their place; QONNX knows our operation by its name",
    "Product": "what the estimate counts of a Design where a Program has the operation",
    "Constant": "what a graph of another tool holds where a Program has the operation",
    "Tensor": "what a graph of another tool holds where a Program has shape and format",
    "Grid": "what a graph of another tool holds where a calibration has format and step",
    "Floats": "numpy's type of arrays, for short",
    "Ints": "numpy's type of arrays, for short",
}
"""Classes and constants of the same name in several files, and why each is no second idea."""


def test_one_word_means_one_idea():
    """Protects reading: who looks for a class or constant by its name finds one, see docs/glossary.md. An exception
    goes from its list when it is gone."""
    places = {}
    for path in CODE:
        for word in words(path):
            places.setdefault(word, []).append(str(path.relative_to(ROOT)))
    twice = {word: where for word, where in places.items() if len(where) > 1}
    assert set(twice) == set(SAME_WORD), {word: where for word, where in twice.items() if word not in SAME_WORD}
