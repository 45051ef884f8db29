"""The rooms of the house: imports run only downwards, and no room outgrows a reader's patience."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

import spikelca

ROOT = Path(spikelca.__file__).parent
LONGEST_FILE = 400  # lines of code, without docstrings, comments and blank lines
LONGEST_BODY = 45

# From the ground up. Packages and modules of one line do not import each other either.
FLOORS = """
_version
utils datasets
model
metrics engines.response
engines.problem
engines.base
engines.postprocess
engines.online
engines.reference engines.numba engines.brian2
engines
readout circuit
modelfile
learning interop
distributed
estimators plotting benchmarks
persistence
<the package itself>
experiments
cli
__main__
"""
PACKAGE = "<the package itself>"
HEIGHT = {
    room: height
    for height, line in enumerate(FLOORS.strip().splitlines())
    for room in ([line] if line == PACKAGE else line.split())
}


def name_of(path: Path) -> str:
    """Dotted name below the package: "engines.numba.drive"; empty for the package itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def room_of(module: str) -> str:
    """The room in which a module stands: the longest name on the plan that leads to it."""
    if not module:
        return PACKAGE
    parts = module.split(".")
    found = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((room for room in found if room in HEIGHT), f"unplanned: {module}")


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imported(module: str, nodes: Iterator[ast.AST]) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything that is imported, TYPE_CHECKING and lazy too."""
    here = ["spikelca", *filter(None, module.split("."))]
    package = here if MODULES[module].stem == "__init__" else here[:-1]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)


def nodes_of(module: str) -> Iterator[ast.AST]:
    """All nodes of a module; of the list of engines only those outside its lazy factories."""
    if module != "engines":
        return ast.walk(tree(module))
    statements = (s for s in tree(module).body if not isinstance(s, ast.FunctionDef))
    return (node for statement in statements for node in ast.walk(statement))


def module_behind(name: str) -> str | None:
    """The module of this package behind an imported name, None for foreign names."""
    top, *parts = name.split(".")
    if top != "spikelca":
        return None
    if parts == ["__version__"]:
        return "_version"
    found = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((module for module in found if module in MODULES), "")


def outsiders(name: str) -> dict[str, list[int]]:
    """Which modules import a foreign package, and where."""
    found = {
        module: [n for n, full in imported(module, ast.walk(tree(module))) if _top(full) == name]
        for module in MODULES
    }
    return {module: lines for module, lines in found.items() if lines}


def _top(name: str) -> str:
    return name.split(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_its_room_on_the_plan(module):
    assert room_of(module) in HEIGHT, "say in FLOORS where this module belongs"


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_only_downwards(module):
    here = room_of(module)
    upwards = [
        f"line {line}: {name}"
        for line, name in imported(module, nodes_of(module))
        if (target := module_behind(name)) is not None
        and room_of(target) != here
        and HEIGHT[room_of(target)] >= HEIGHT[here]
    ]
    assert not upwards


def test_the_plan_would_notice_an_import_that_runs_upwards():
    node = ast.parse("def f():\n    from ..circuit import Circuit")
    [(_, name)] = imported("engines.base", ast.walk(node))
    assert name == "spikelca.circuit.Circuit"
    assert HEIGHT[room_of(module_behind(name))] > HEIGHT[room_of("engines.base")]


def files_imported(module: str) -> set[str]:
    """The files of the package that a file imports, lazily and for types too."""
    targets = {module_behind(name) for _, name in imported(module, nodes_of(module))}
    return {target for target in targets if target is not None} - {module}


def find_circle(imports: dict[str, set[str]]) -> list[str]:
    """The files of a circle of imports; empty if there is none."""
    state: dict[str, str] = {}

    def visit(module: str, path: list[str]) -> list[str]:
        if state.get(module) == "done":
            return []
        if module in path:
            return path[path.index(module) :]
        for target in sorted(imports[module]):
            if circle := visit(target, [*path, module]):
                return circle
        state[module] = "done"
        return []

    return next((circle for module in imports if (circle := visit(module, []))), [])


def test_no_files_import_each_other_in_a_circle():
    assert not find_circle({module: files_imported(module) for module in MODULES})
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def test_data_sets_import_nothing_of_the_package():
    names = [
        name
        for module in MODULES
        if room_of(module) == "datasets"
        for _, name in imported(module, ast.walk(tree(module)))
    ]
    inside = {room_of(target) for target in map(module_behind, names) if target is not None}
    assert inside <= {"datasets", "_version"}


def test_numba_is_imported_only_by_its_engine():
    assert {room_of(module) for module in outsiders("numba")} <= {"engines.numba"}


def test_brian2_is_imported_only_by_its_engine():
    assert {room_of(module) for module in outsiders("brian2")} <= {"engines.brian2"}


def test_matplotlib_is_imported_only_where_something_is_drawn():
    assert {room_of(module) for module in outsiders("matplotlib")} <= {
        "plotting",
        "experiments",
        "cli",
    }


@pytest.mark.parametrize("extra", ["nir", "neo", "quantities", "h5py"])
def test_what_comes_with_an_extra_is_asked_for_at_run_time_and_never_imported(extra):
    assert not outsiders(extra)


def test_import_of_the_package_leaves_the_heavy_libraries_alone():
    heavy = "{'brian2', 'numba', 'sklearn', 'matplotlib', 'pandas', 'dask', 'zarr'}"
    code = f"import spikelca, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_of_the_package_can_be_imported():
    missing = [name for name in spikelca.__all__ if getattr(spikelca, name, None) is None]
    assert not missing
    assert set(spikelca.__all__) <= set(dir(spikelca))
    with pytest.raises(AttributeError, match="no attribute 'Ciruit'"):
        _ = spikelca.Ciruit


@pytest.mark.parametrize("module", [m for m in MODULES if "._" not in f".{m}"])
def test_every_public_module_says_what_it_is(module):
    assert ast.get_docstring(tree(module)), "a module opens with a docstring"


def length_of_body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement behind the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("module", MODULES)
def test_no_function_is_longer_than_a_screen(module):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = (node for node in ast.walk(tree(module)) if isinstance(node, kinds))
    lengths = {f"{f.name}, line {f.lineno}": length_of_body(f) for f in functions}
    assert not {name: n for name, n in lengths.items() if n > LONGEST_BODY}


def count_code_lines(source: str) -> int:
    """Lines that hold code: no docstrings, comments or blank lines."""
    nodes = ast.walk(ast.parse(source))
    texts = (n for n in nodes if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
    prose = {line for n in texts for line in range(n.lineno, n.end_lineno + 1)}
    skipped = {
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
        tokenize.ENDMARKER,
    }  # fmt: skip
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = {
        line for t in tokens if t.type not in skipped for line in range(t.start[0], t.end[0] + 1)
    }
    return len(code - prose)


@pytest.mark.parametrize("module", MODULES)
def test_no_file_holds_more_than_one_idea_can_fill(module):
    assert count_code_lines(MODULES[module].read_text(encoding="utf-8")) <= LONGEST_FILE


def test_prose_is_not_counted_as_code():
    assert count_code_lines('"""A\nB"""\n\nx = 1  # one\n# two\ny = """C\nD"""\n') == 3


def test_the_package_has_few_files_at_the_top():
    top = {name for name in MODULES if name and "." not in name}
    files = {name for name in top if MODULES[name].stem != "__init__"}
    assert len(files - {"__main__", "_version"}) <= 6


def test_the_plan_runs_from_the_ground_up():
    heights = [HEIGHT[room] for room in ("utils", "model", "circuit", "cli")]
    assert all(low < high for low, high in pairwise(heights))
