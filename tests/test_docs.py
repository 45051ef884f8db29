"""The documentation: its snippets run, its links lead somewhere, its reference is complete."""

from __future__ import annotations

import multiprocessing
import os
import re
from pathlib import Path

import pytest
from quickly import HANGS

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [page for page in PAGES if "_build" not in page.parts]
README = ROOT / "README.md"
EXAMPLES = sorted((ROOT / "examples").rglob("plot_*.py"))


def snippets(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def run_alone(code, log):
    """Run code as a script of its own, and leave what it says in a file."""
    with open(log, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    exec(compile(code, "<snippet>", "exec"), {"__name__": "__main__"})


@pytest.fixture(scope="module")
def processes():
    """Fresh processes that need not import everything again, where the system has them."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload(["test_docs", "sklearn.linear_model", "brian2"])
    return context


@pytest.mark.parametrize(
    "page", [p for p in (README, *PAGES) if snippets(p)], ids=lambda p: str(p.relative_to(ROOT))
)
def test_the_snippets_of_a_page_run_one_after_the_other(page, processes, tmp_path):
    log = tmp_path / "log"
    run = processes.Process(target=run_alone, args=("\n".join(snippets(page)), log))
    run.start()
    run.join(HANGS)
    assert run.exitcode == 0, log.read_text(encoding="utf-8")


def test_there_are_at_least_ten_examples_and_three_from_papers():
    assert sum(path.parent.name == "examples" for path in EXAMPLES) >= 10
    assert sum(path.parent.name == "frompapers" for path in EXAMPLES) >= 3


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_every_example_is_short_and_ends_in_a_picture(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "plt.show()"
    assert len(lines) <= 50
    assert any(set(line) == {"="} for line in lines[:4]), "a title, underlined"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_page_has_its_place_in_a_table_of_contents(page):
    index = page.parent / "index.md"
    if page == ROOT / "docs" / "index.md":
        return
    if page.name == "index.md":
        index = ROOT / "docs" / "index.md"
    name = str(page.relative_to(index.parent).with_suffix(""))
    assert name in index.read_text(encoding="utf-8").splitlines()


def test_every_equation_of_the_pages_becomes_mathml():
    convert = pytest.importorskip("latex2mathml.converter").convert
    text = "\n".join(
        re.sub(r"^```.*?^```", "", p.read_text(encoding="utf-8"), flags=re.M | re.S) for p in PAGES
    )
    found = re.findall(r"\$\$(.+?)\$\$|(?<!\$)\$([^$\n]+)\$", text, re.S)
    assert len(found) > 30
    for block, line in found:
        made = convert(block or line)
        assert made.startswith("<math")
        assert "\\" not in made, block or line


def test_what_the_readme_points_to_is_there_and_its_picture_is_small():
    targets = re.findall(r"\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert len(targets) > 8
    assert all((ROOT / target).exists() for target in targets)
    pictures = [ROOT / target for target in targets if target.endswith(".png")]
    assert 0 < sum(picture.stat().st_size for picture in pictures) < 150_000
