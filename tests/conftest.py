"""Options of the test suite, and the figures that it prints at its end."""

from __future__ import annotations

import pytest

FIGURES = pytest.StashKey[list[str]]()


def pytest_addoption(parser):
    parser.addoption(
        "--full", action="store_true", help="the larger counts of the tests marked reliability"
    )


@pytest.fixture(scope="session")
def full(request):
    """Whether the larger counts are asked for."""
    return request.config.getoption("--full")


@pytest.fixture
def figure(request):
    """Say a figure; all are printed together at the end."""

    def say(text):
        request.config.stash.setdefault(FIGURES, []).append(f"{request.node.name}: {text}")

    return say


def pytest_terminal_summary(terminalreporter, config):
    figures = config.stash.get(FIGURES, [])
    if figures:
        terminalreporter.section("figures")
        for line in figures:
            terminalreporter.write_line(line)
