"""The documentation: snippets run, links and named tests exist, pages are in the index."""

from __future__ import annotations

import multiprocessing
import os
import re
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from quickly import HANGS

import spikelca

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [page for page in PAGES if "_build" not in page.parts]
README = ROOT / "README.md"
EXAMPLES = sorted((ROOT / "examples").rglob("plot_*.py"))


def find_snippets(page):
    """The Python code blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def run_script(code, log):
    """Run code as a script in the folder of its log, which receives its output."""
    os.chdir(log.parent)
    with open(log, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    exec(compile(code, "<snippet>", "exec"), {"__name__": "__main__"})


@pytest.fixture(scope="module")
def process_context():
    """New processes, with the imports preloaded if the system supports it."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    libraries = ["sklearn.linear_model", "brian2", "spikelca.engines.numba"]
    context.set_forkserver_preload(["test_docs", *libraries])
    return context


@pytest.mark.parametrize(
    "page",
    [p for p in (README, *PAGES) if find_snippets(p)],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_snippets_of_page_run_in_order(page, process_context, tmp_path):
    log, code = tmp_path / "log", "\n".join(find_snippets(page))
    process = process_context.Process(target=run_script, args=(code, log))
    process.start()
    process.join(HANGS)
    assert process.exitcode == 0, log.read_text(encoding="utf-8")


def test_gallery_has_examples_and_paper_figures():
    assert sum(path.parent.name == "examples" for path in EXAMPLES) >= 10
    assert sum(path.parent.name == "frompapers" for path in EXAMPLES) >= 3


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example_is_short_and_ends_with_figure(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "plt.show()"
    assert len(lines) <= 50
    title, underline = next(pair for pair in pairwise(lines) if set(pair[1]) == {"="})
    assert len(title) == len(underline)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_page_is_in_a_table_of_contents(page):
    index = page.parent / "index.md"
    if page == ROOT / "docs" / "index.md":
        return
    if page.name == "index.md":
        index = ROOT / "docs" / "index.md"
    name = str(page.relative_to(index.parent).with_suffix(""))
    assert name in index.read_text(encoding="utf-8").splitlines()


def test_equations_of_pages_are_converted_to_mathml():
    convert = pytest.importorskip("latex2mathml.converter").convert
    text = "\n".join(
        re.sub(r"^```.*?^```", "", p.read_text(encoding="utf-8"), flags=re.M | re.S) for p in PAGES
    )
    equations = re.findall(r"\$\$(.+?)\$\$|(?<!\$)\$([^$\n]+)\$", text, re.S)
    assert len(equations) > 30
    for display, inline in equations:
        mathml = convert(display or inline)
        assert mathml.startswith("<math")
        assert "\\" not in mathml, display or inline


def test_readme_links_exist_and_figure_is_small():
    targets = re.findall(r"\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert len(targets) > 8
    assert all((ROOT / target).exists() for target in targets)
    figures = [ROOT / target for target in targets if target.endswith(".png")]
    assert 0 < sum(figure.stat().st_size for figure in figures) < 150_000


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_tests_named_on_page_exist(page):
    named = set(re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8")))
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    defined = set(re.findall(r"^def (test_\w+)", "\n".join(sources), re.M))
    assert named <= defined


def name_exists(name):
    """Whether a dotted name in `spikelca` is a module, an attribute or a dataclass field."""
    value = spikelca
    for part in name.split("."):
        members = getattr(value, "__dataclass_fields__", {})
        is_package = isinstance(value, ModuleType) and hasattr(value, "__path__")
        if is_package and find_spec(f"{value.__name__}.{part}"):
            value = import_module(f"{value.__name__}.{part}")
        elif part in members or hasattr(value, part):
            value = members.get(part) or getattr(value, part)
        else:
            return False
    return True


def test_new_names_in_changes_exist():
    page = (ROOT / "docs" / "changes.md").read_text(encoding="utf-8")
    [section] = re.findall(r"^### Renamed public names\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    rows = re.findall(r"^\| .*`.* \| (.*`.*) \|$", section, re.M)
    names = [name for row in rows for name in re.findall(r"`([\w.]+)`", row)]
    assert len(names) > 50
    assert not [name for name in names if not name_exists(name)]
