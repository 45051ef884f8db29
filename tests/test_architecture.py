"""Package structure: import order, size limits, and the map in docs/architecture.md."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

import spikelca

ROOT = Path(__file__).parent.parent / "spikelca"
MAP = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
MAX_FILE_LINES = 400  # code, without docstrings, comments and blank lines
MAX_BODY_LINES = 45
MAX_KERNEL_ARGUMENTS = 12

# Bottom first. Packages and modules of one line do not import each other.
FLOORS = """
_version
utils datasets
model
metrics engines.response engines.currents
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
estimators plotting
persistence benchmarks
<the package itself>
experiments
cli
__main__
"""
PACKAGE = "<the package itself>"
LEVEL = {
    package: level
    for level, line in enumerate(FLOORS.strip().splitlines())
    for package in ([line] if line == PACKAGE else line.split())
}


def module_name(path: Path) -> str:
    """Dotted name without the package: "engines.numba.jit.layout"; empty for the package itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def package_of(module: str) -> str:
    """The longest name in `FLOORS` that contains a module."""
    if not module:
        return PACKAGE
    parts = module.split(".")
    prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in LEVEL), f"not in FLOORS: {module}")


@cache
def parse(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def list_imports(module: str, nodes: Iterator[ast.AST]) -> Iterator[tuple[int, str]]:
    """Line and full name of each import, including lazy ones and those for type checking."""
    path = ["spikelca", *filter(None, module.split("."))]
    package = path if MODULES[module].stem == "__init__" else path[:-1]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)


def walk_module(module: str) -> Iterator[ast.AST]:
    """All nodes of a module; for `engines` without the functions that import an engine lazily."""
    if module != "engines":
        return ast.walk(parse(module))
    statements = (s for s in parse(module).body if not isinstance(s, ast.FunctionDef))
    return (node for statement in statements for node in ast.walk(statement))


def find_module(name: str) -> str | None:
    """The module of this package that defines an imported name; None for other packages."""
    top, *parts = name.split(".")
    if top != "spikelca":
        return None
    if parts == ["__version__"]:
        return "_version"
    prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in MODULES), "")


@cache
def list_all_imports() -> list[tuple[str, str]]:
    """Module and full name of each import of the package."""
    return [
        (module, name)
        for module in MODULES
        for _, name in list_imports(module, ast.walk(parse(module)))
    ]


def list_importers(library: str) -> set[str]:
    """The packages in which a module imports another library."""
    return {
        package_of(module) for module, name in list_all_imports() if name.split(".")[0] == library
    }


@pytest.mark.parametrize("module", MODULES)
def test_every_module_is_in_floors(module):
    assert package_of(module) in LEVEL, "add this module to FLOORS"


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_lower_layers(module):
    package = package_of(module)
    upwards = [
        f"line {line}: {name}"
        for line, name in list_imports(module, walk_module(module))
        if (target := find_module(name)) is not None
        and package_of(target) != package
        and LEVEL[package_of(target)] >= LEVEL[package]
    ]
    assert not upwards


def test_lazy_upward_import_is_found():
    node = ast.parse("def f():\n    from ..circuit import Circuit")
    [(_, name)] = list_imports("engines.base", ast.walk(node))
    assert name == "spikelca.circuit.Circuit"
    assert LEVEL[package_of(find_module(name))] > LEVEL[package_of("engines.base")]


def list_imported_files(module: str) -> set[str]:
    """The files of the package that a file imports, including lazy imports and those for types."""
    targets = {find_module(name) for _, name in list_imports(module, walk_module(module))}
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


def test_files_import_each_other_without_circle():
    assert not find_circle({module: list_imported_files(module) for module in MODULES})
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def test_datasets_import_no_other_package():
    names = [name for module, name in list_all_imports() if package_of(module) == "datasets"]
    targets = {package_of(target) for target in map(find_module, names) if target is not None}
    assert targets <= {"datasets", "_version"}


def test_numba_is_imported_only_by_its_engine():
    assert list_importers("numba") == {"engines.numba"}


def test_brian2_is_imported_only_by_its_engine():
    assert list_importers("brian2") == {"engines.brian2"}


def test_matplotlib_is_imported_only_for_plots():
    assert list_importers("matplotlib") <= {"plotting", "experiments", "cli"}


@pytest.mark.parametrize("extra", ["nir", "neo", "quantities", "h5py"])
def test_extra_is_imported_only_at_run_time(extra):
    assert not list_importers(extra)


def test_package_import_loads_no_heavy_library():
    heavy = "{'brian2', 'numba', 'sklearn', 'matplotlib', 'pandas', 'dask', 'zarr'}"
    code = f"import spikelca, sys; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_name_in_all_can_be_imported():
    missing = [name for name in spikelca.__all__ if getattr(spikelca, name, None) is None]
    assert not missing
    assert set(spikelca.__all__) <= set(dir(spikelca))
    with pytest.raises(AttributeError, match="no attribute 'Ciruit'"):
        _ = spikelca.Ciruit


@pytest.mark.parametrize("module", [m for m in MODULES if "._" not in f".{m}"])
def test_every_module_has_a_docstring(module):
    assert ast.get_docstring(parse(module))


def count_body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("module", MODULES)
def test_function_bodies_are_short(module):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = (node for node in ast.walk(parse(module)) if isinstance(node, kinds))
    lengths = {f"{f.name}, line {f.lineno}": count_body_lines(f) for f in functions}
    assert not {name: n for name, n in lengths.items() if n > MAX_BODY_LINES}


def count_code_lines(source: str) -> int:
    """Lines with code: no docstrings, comments or blank lines."""
    nodes = ast.walk(ast.parse(source))
    docs = (n for n in nodes if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
    prose = {line for n in docs for line in range(n.lineno, n.end_lineno + 1)}
    skipped = {
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
        tokenize.ENDMARKER,
    }  # fmt: skip
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = {
        line for t in tokens if t.type not in skipped for line in range(t.start[0], t.end[0] + 1)
    }
    return len(code - prose)


def test_kernels_have_at_most_twelve_arguments():
    n_arguments = {
        f"{module}.{node.name}": len(node.args.args)
        for module in MODULES
        if module.startswith("engines.numba")
        for node in ast.walk(parse(module))
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    }
    assert len(n_arguments) > 60
    assert not {name: n for name, n in n_arguments.items() if n > MAX_KERNEL_ARGUMENTS}


@pytest.mark.parametrize("module", MODULES)
def test_files_are_short(module):
    assert count_code_lines(MODULES[module].read_text(encoding="utf-8")) <= MAX_FILE_LINES


def test_docstrings_are_not_counted_as_code():
    assert count_code_lines('"""A\nB"""\n\nx = 1  # one\n# two\ny = """C\nD"""\n') == 3


TOP = {name for name in MODULES if name and "." not in name} - {"__main__", "_version"}


@pytest.mark.parametrize("module", MODULES)
def test_no_function_has_the_name_of_its_module(module):
    names = {getattr(node, "name", None) for node in parse(module).body}
    assert module.rpartition(".")[2] not in names - {"main"}


def test_few_modules_are_at_the_top_level():
    assert sum(MODULES[name].stem != "__init__" for name in TOP) <= 6


def test_levels_ascend_from_utils_to_cli():
    levels = [LEVEL[package] for package in ("utils", "model", "circuit", "cli")]
    assert all(low < high for low, high in pairwise(levels))


def list_blocks(heading: str) -> list[str]:
    """The code blocks of a section of the architecture page."""
    [section] = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", MAP, re.M | re.S)
    return re.findall(r"^```(?:text)?\n(.*?)^```", section, re.M | re.S)


def test_map_draws_layers_in_import_order():
    [drawing] = list_blocks("Layers")
    cells = [line.split("|", 1)[1] for line in drawing.splitlines()]
    rows = [[word for word in re.findall(r"\w+", cell) if word in TOP] for cell in cells]
    assert sorted(package for row in rows for package in row) == sorted(TOP)
    # Engines extend over several levels, the lowest of them that of the metrics.
    spans = {top: [n for p, n in LEVEL.items() if p.split(".")[0] == top] for top in TOP}
    for upper, lower in pairwise(rows):
        assert min(n for p in upper for n in spans[p]) >= max(n for p in lower for n in spans[p])
        assert max(n for p in upper for n in spans[p]) > max(n for p in lower for n in spans[p])


def test_map_lists_every_package():
    [listing] = list_blocks("Packages")
    names = re.findall(r"^  (\w+)(?:/|\.py)", listing, re.M)
    assert sorted(names) == sorted(TOP)


def find_function(path: str, name: str) -> ast.AST | None:
    """The definition of a function, class or method; None if there is none."""
    module = module_name(ROOT / path)
    node: ast.AST | None = parse(module) if module in MODULES else None
    for part in name.split("."):
        body = getattr(node, "body", [])
        node = next((child for child in body if getattr(child, "name", None) == part), None)
    return node


REFERENCES = sorted(set(re.findall(r"([\w/]+\.py)::([\w.]+)", MAP)))


@pytest.mark.parametrize("reference", REFERENCES, ids="::".join)
def test_function_on_the_map_exists(reference):
    assert find_function(*reference) is not None


def list_calls(path: str) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Caller and called function of each line of a call path, by indentation."""
    calls, stack = [], []
    for indent, *function in re.findall(r"^( *)([\w/]+\.py)::([\w.]+)", path, re.M):
        depth = len(indent) // 2
        stack[depth:] = [tuple(function)]
        if depth:
            calls.append((stack[depth - 1], stack[depth]))
    return calls


def uses_name(caller: ast.AST, name: str) -> bool:
    """Whether the source of a function contains a name or an attribute."""
    nodes = list(ast.walk(caller))
    return any(name in (getattr(n, "id", None), getattr(n, "attr", None)) for n in nodes)


CALLS = [call for path in list_blocks("From a call to the kernel") for call in list_calls(path)]


@pytest.mark.parametrize(("caller", "called"), CALLS, ids=lambda function: function[1])
def test_call_on_the_map_is_in_source(caller, called):
    assert uses_name(find_function(*caller), called[1].split(".")[-1])


def test_false_call_and_name_are_found():
    assert find_function("circuit/circuit.py", "Circuit.no_method") is None
    assert find_function("circuit/no_file.py", "Circuit") is None
    [((_, caller), (_, called))] = list_calls("a.py::f    text\n  b.py::C.g\n")
    assert (caller, called) == ("f", "C.g")
    assert not uses_name(ast.parse("def f(): h()"), "g")


def test_map_answers_ten_questions():
    [section] = re.findall(r"^## Where is .*?\n(.*?)(?=^## )", MAP, re.M | re.S)
    assert len(re.findall(r"^\| .* \| `[\w/]+\.py::[\w.]+`", section, re.M)) == 10


def test_files_named_on_the_map_exist():
    names = re.findall(r"`([\w/]+\.py)`", MAP)
    missing = [n for n in names if not ((ROOT / n).exists() or (ROOT.parent / n).exists())]
    assert not missing
