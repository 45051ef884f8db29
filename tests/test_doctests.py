"""The examples of all docstrings run and print the documented output."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import spikelca

MODULES = ["spikelca"] + [
    module.name
    for module in pkgutil.walk_packages(spikelca.__path__, "spikelca.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_module_run(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "spikelca":
            raise
        pytest.skip(f"needs {error.name}, which an extra installs")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, _ = doctest.testmod(module, optionflags=flags)
    assert failed == 0


def test_examples_of_circuit_are_found():
    finder = doctest.DocTestFinder(exclude_empty=True)
    module = importlib.import_module("spikelca.circuit.circuit")
    assert any(test.examples for test in finder.find(module))
