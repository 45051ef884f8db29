"""The reference is complete: every public name, what it takes and gives, and an example."""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import spikelca.inputs

import spikelca.engines

ROOT = Path(__file__).parent.parent
NAMES = re.findall(r"^   ([\w.]+)$", (ROOT / "docs" / "api.rst").read_text(encoding="utf-8"), re.M)
MODULES = (
    "", "estimators", "learning", "model", "persistence",
    "engines", "readout", "metrics", "plotting", "datasets",
)  # fmt: skip


def found(name):
    """The public object behind a name of the reference."""
    module, _, own = f"spikelca.{name}".rpartition(".")
    return getattr(import_module(module), own)


def public(module):
    """The functions and classes that a module offers: its ``__all__``, or what it defines."""
    room = import_module(f"spikelca.{module}".rstrip("."))
    here = [name for name, one in vars(room).items() if vars_of(one) == room.__name__]
    named = getattr(room, "__all__", [name for name in here if not name.startswith("_")])
    return [one for one in (getattr(room, name) for name in named) if callable(one)]


def vars_of(thing):
    """The module that defines a function or a class."""
    return getattr(thing, "__module__", None) if callable(thing) else None


def section(docstring, title):
    """A section of a numpydoc docstring, None if there is none."""
    text = inspect.cleandoc(docstring)
    cut = re.search(rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", text, re.M | re.S)
    return None if cut is None else cut[1]


def listed(docstring, title="Parameters"):
    """Names in a section of a numpydoc docstring."""
    text = section(docstring, title)
    return None if text is None else [name for name, _ in described(text)]


def described(text):
    """Names in the text of such a section, each with what stands behind its colon."""
    heads = re.findall(r"^(\*{0,2}\w[\w, *]*?)(?: : (.*))?$", text, re.M)
    return [(name.strip().lstrip("*"), kind) for head, kind in heads for name in head.split(",")]


def parameters(thing):
    """Names in the signature of a function or of a class."""
    return [name for name in inspect.signature(thing).parameters if name not in ("self", "cls")]


def gives(function):
    """Whether a function gives something back."""
    return inspect.signature(function).return_annotation not in (None, "None")


def methods(thing):
    """The public methods that a class has from this library, inherited ones too."""
    ours = [base for base in reversed(thing.__mro__) if base.__module__.startswith("spikelca.")]
    for name, one in {name: one for base in ours for name, one in vars(base).items()}.items():
        plain = inspect.unwrap(getattr(one, "__func__", one))
        if not name.startswith("_") and inspect.isfunction(plain):
            yield name, plain


def inside(name):
    """Whether engines call it rather than people: a line may say it all, and a page shows it."""
    return name.startswith("engines.")


VALUES = (
    vars(spikelca.engines) | vars(spikelca.inputs) | {n: found(n) for n in ("Hebbian", "IdleAtoms")}
)
BY_WORDS = (type(None), np.ndarray, dict)
"""Defaults that a docstring puts into words: optional, or empty."""
FUNCTIONS = [name for name in NAMES if inspect.isfunction(found(name))]
CLASSES = [name for name in NAMES if inspect.isclass(found(name))]


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_stands_in_the_reference(module):
    known = [found(name) for name in NAMES]
    missing = [one.__name__ for one in public(module) if one not in known]
    assert public(module)
    assert not missing


@pytest.mark.parametrize("name", NAMES)
def test_a_public_docstring_lists_exactly_its_parameters(name):
    thing = found(name)
    if inspect.isclass(thing) and (inspect.isabstract(thing) or issubclass(thing, Exception)):
        return
    told = listed(thing.__doc__ or "")
    if told is None:
        told = listed(thing.__doc__ or "", "Attributes") or []
    assert sorted(told) == sorted(parameters(thing)) or (inside(name) and not told)


def defaults(thing):
    """Default of every parameter that has one; fields of a dataclass as they are made."""
    try:
        signature = inspect.signature(thing)
    except ValueError:  # exceptions have none
        return {}
    made = {f.name: f.default_factory for f in fields(thing)} if is_dataclass(thing) else {}
    for name, parameter in signature.parameters.items():
        if name in made and made[name] is not MISSING:
            yield name, made[name]()
        elif parameter.default is not inspect.Parameter.empty:
            yield name, parameter.default


def told_default(kind):
    """What a docstring says behind ``default=``, as a value; None where it says nothing."""
    found = re.search(r"default=(.*)$", kind)
    if found is None:
        return None
    milliseconds = re.fullmatch(r"([\d.]+) ms", found[1])
    return float(milliseconds[1]) / 1e3 if milliseconds else eval(found[1], VALUES)


def callables():
    """Every public name that is called, and the public methods of classes."""
    for name in NAMES:
        yield name, found(name), found(name).__doc__
        if inspect.isclass(found(name)):
            for method, function in methods(found(name)):
                yield f"{name}.{method}", function, inspect.getdoc(getattr(found(name), method))


def test_defaults_of_signature_and_docstring_are_equal():
    wrong, n_checked = [], 0
    for name, thing, docstring in callables():
        texts = [section(docstring or "", title) for title in ("Parameters", "Attributes")]
        told = {n: told_default(kind) for text in texts if text for n, kind in described(text)}
        true = {n: value for n, value in defaults(thing) if not isinstance(value, BY_WORDS)}
        for n in {n for n, value in told.items() if value is not None} | (
            true.keys() & told.keys()
        ):
            n_checked += 1
            if repr(told[n]) != repr(true.get(n)):
                wrong.append((name, n, told[n], true.get(n)))
    assert n_checked > 80
    assert not wrong


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_says_what_it_gives_and_when_it_refuses(name):
    function = found(name)
    told = function.__doc__
    if gives(function):
        assert section(told, "Returns") or section(told, "Yields") or inside(name)
    if re.search(r"^\s+raise \w", inspect.getsource(function), re.M):
        assert section(told, "Raises")


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example_that_runs(name):
    assert ">>> " in (found(name).__doc__ or "")


@pytest.mark.parametrize("name", CLASSES)
def test_public_methods_say_what_they_take_and_give(name):
    for method, function in methods(found(name)):
        told = inspect.getdoc(getattr(found(name), method))
        assert told, method
        if inside(name):
            continue
        assert sorted(listed(told) or []) == sorted(parameters(function)), method
        if gives(function):
            assert section(told, "Returns"), method


def test_the_pages_of_classes_show_inherited_methods_and_none_of_other_libraries():
    template = (ROOT / "docs" / "_templates" / "autosummary" / "class.rst").read_text(
        encoding="utf-8"
    )
    [told] = re.findall(r":inherited-members: (.*)", template)
    bases = {base for name in CLASSES for base in found(name).__mro__}
    foreign = {base.__name__ for base in bases if base.__module__.startswith("sklearn.")}
    assert foreign <= set(told.split(", "))
