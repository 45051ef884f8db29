"""Public docstrings: what they list is what there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import spikelca

ROOT = Path(spikelca.__file__).parent
REFERENCE = (Path(__file__).parent.parent / "docs" / "api.rst").read_text()
NAMES = re.findall(r"^   ([\w.]+)$", REFERENCE, re.M)


def found(name):
    """The public object behind a name of the reference."""
    from importlib import import_module

    module, _, own = f"spikelca.{name}".rpartition(".")
    return getattr(import_module(module), own)


def listed(docstring, title="Parameters"):
    """Names in a section of a numpydoc docstring."""
    text = inspect.cleandoc(docstring)
    section = re.search(rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", text, re.M | re.S)
    if section is None:
        return None
    heads = re.findall(r"^(\*{0,2}\w[\w, *]*?)(?: : .*)?$", section[1], re.M)
    return [name.strip().lstrip("*") for head in heads for name in head.split(",")]


def parameters(thing):
    """Names in the signature of a function or of a class."""
    return [name for name in inspect.signature(thing).parameters if name != "self"]


@pytest.mark.parametrize("name", NAMES)
def test_a_public_docstring_lists_exactly_its_parameters(name):
    thing = found(name)
    if inspect.isclass(thing) and (inspect.isabstract(thing) or issubclass(thing, Exception)):
        return
    told = listed(thing.__doc__ or "")
    if told is None:
        told = listed(thing.__doc__ or "", "Attributes")
    if told is None:
        assert len(parameters(thing)) <= 2, "more than two parameters deserve a section"
        return
    assert sorted(told) == sorted(parameters(thing))


@pytest.mark.parametrize("name", NAMES)
def test_public_methods_list_exactly_their_parameters(name):
    thing = found(name)
    if not inspect.isclass(thing):
        return
    for method, function in vars(thing).items():
        plain = inspect.unwrap(getattr(function, "__func__", function))
        if method.startswith("_") or not inspect.isfunction(plain):
            continue
        told = listed(plain.__doc__ or "")
        if told is not None:
            assert sorted(told) == sorted(set(parameters(plain)) - {"cls"}), method
