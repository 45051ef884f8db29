"""The API reference: complete, with parameters, return values, defaults and examples."""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from spikelca import engines, model

ROOT = Path(__file__).parent.parent
NAMES = re.findall(r"^   ([\w.]+)$", (ROOT / "docs" / "api.rst").read_text(encoding="utf-8"), re.M)
MODULES = (
    "", "estimators", "learning", "model", "persistence",
    "engines", "readout", "metrics", "plotting", "datasets",
)  # fmt: skip


def resolve(name):
    """The public object with a name of the reference."""
    module, _, attribute = f"spikelca.{name}".rpartition(".")
    return getattr(import_module(module), attribute)


def list_public(name):
    """The functions and classes in ``__all__`` of a module, or defined in it."""
    module = import_module(f"spikelca.{name}".rstrip("."))
    defined = [n for n, value in vars(module).items() if defining_module(value) == module.__name__]
    public = getattr(module, "__all__", [n for n in defined if not n.startswith("_")])
    return [value for value in (getattr(module, n) for n in public) if callable(value)]


def defining_module(value):
    """The module that defines a function or a class; None for other values."""
    return getattr(value, "__module__", None) if callable(value) else None


def find_section(docstring, title):
    """The text of a section of a numpydoc docstring; None if there is none."""
    text = inspect.cleandoc(docstring)
    match = re.search(rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", text, re.M | re.S)
    return None if match is None else match[1]


def list_names(docstring, title="Parameters"):
    """The names in a section of a numpydoc docstring; None if there is no section."""
    text = find_section(docstring, title)
    return None if text is None else [name for name, _ in parse_section(text)]


def parse_section(text):
    """The names in the text of a section, each with its type."""
    heads = re.findall(r"^(\*{0,2}\w[\w, *]*?)(?: : (.*))?$", text, re.M)
    return [(name.strip().lstrip("*"), kind) for head, kind in heads for name in head.split(",")]


def list_parameters(function):
    """The names in the signature of a function or class."""
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


def has_return_value(function):
    """Whether a function is annotated with a return value."""
    return inspect.signature(function).return_annotation not in (None, "None")


def list_methods(cls):
    """The public methods of a class that are defined in this library, inherited ones included."""
    bases = [base for base in reversed(cls.__mro__) if base.__module__.startswith("spikelca.")]
    for name, value in {name: v for base in bases for name, v in vars(base).items()}.items():
        function = inspect.unwrap(getattr(value, "__func__", value))
        if not name.startswith("_") and inspect.isfunction(function):
            yield name, function


def is_for_engines(name):
    """Whether a name is used by engines rather than users; its docstring may be one line."""
    return name.startswith("engines.")


VALUES = vars(engines) | vars(model)
UNCHECKED_TYPES = (type(None), np.ndarray, dict)
"""Types of defaults that a docstring describes in words: optional, or empty."""
FUNCTIONS = [name for name in NAMES if inspect.isfunction(resolve(name))]
CLASSES = [name for name in NAMES if inspect.isclass(resolve(name))]


@pytest.mark.parametrize("module", MODULES)
def test_reference_contains_every_public_name(module):
    documented = [resolve(name) for name in NAMES]
    public = list_public(module)
    assert public
    assert not [value.__name__ for value in public if value not in documented]


@pytest.mark.parametrize("name", NAMES)
def test_docstring_lists_the_parameters(name):
    value = resolve(name)
    if inspect.isclass(value) and (inspect.isabstract(value) or issubclass(value, Exception)):
        return
    documented = list_names(value.__doc__ or "")
    if documented is None:
        documented = list_names(value.__doc__ or "", "Attributes") or []
    missing_is_allowed = is_for_engines(name) and not documented
    assert sorted(documented) == sorted(list_parameters(value)) or missing_is_allowed


def list_defaults(function):
    """Names and defaults of parameters, and of dataclass fields with a factory."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # some exceptions have no signature
        return
    factories = {}
    if is_dataclass(function):
        factories = {f.name: f.default_factory for f in fields(function)}
    for name, parameter in signature.parameters.items():
        if factories.get(name, MISSING) is not MISSING:
            yield name, factories[name]()
        elif parameter.default is not inspect.Parameter.empty:
            yield name, parameter.default


def read_default(kind):
    """The value after ``default=`` in a docstring; None if there is none."""
    match = re.search(r"default=(.*)$", kind)
    if match is None:
        return None
    milliseconds = re.fullmatch(r"([\d.]+) ms", match[1])
    return float(milliseconds[1]) / 1e3 if milliseconds else eval(match[1], VALUES)


def list_callables():
    """Name, function and docstring of every public name and of the public methods of classes."""
    for name in NAMES:
        value = resolve(name)
        yield name, value, value.__doc__
        if inspect.isclass(value):
            for method, function in list_methods(value):
                yield f"{name}.{method}", function, inspect.getdoc(getattr(value, method))


def test_defaults_of_signature_and_docstring_are_equal():
    mismatched, n_checked = [], 0
    for name, function, docstring in list_callables():
        texts = [find_section(docstring or "", title) for title in ("Parameters", "Attributes")]
        pairs = [pair for text in texts if text for pair in parse_section(text)]
        documented = {n: read_default(kind) for n, kind in pairs}
        actual = {n: v for n, v in list_defaults(function) if not isinstance(v, UNCHECKED_TYPES)}
        with_default = {n for n, value in documented.items() if value is not None}
        for n in with_default | (actual.keys() & documented.keys()):
            n_checked += 1
            if repr(documented[n]) != repr(actual.get(n)):
                mismatched.append((name, n, documented[n], actual.get(n)))
    assert n_checked > 80
    assert not mismatched


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_lists_return_values_and_errors(name):
    function = resolve(name)
    docstring = function.__doc__
    if has_return_value(function) and not is_for_engines(name):
        assert find_section(docstring, "Returns") or find_section(docstring, "Yields")
    if re.search(r"^\s+raise \w", inspect.getsource(function), re.M):
        assert find_section(docstring, "Raises")


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example(name):
    assert ">>> " in (resolve(name).__doc__ or "")


@pytest.mark.parametrize("name", CLASSES)
def test_methods_document_parameters_and_return_values(name):
    for method, function in list_methods(resolve(name)):
        docstring = inspect.getdoc(getattr(resolve(name), method))
        assert docstring, method
        if is_for_engines(name):
            continue
        assert sorted(list_names(docstring) or []) == sorted(list_parameters(function)), method
        if has_return_value(function):
            assert find_section(docstring, "Returns"), method


def test_class_pages_exclude_methods_of_scikit_learn():
    template = ROOT / "docs" / "_templates" / "autosummary" / "class.rst"
    [excluded] = re.findall(r":inherited-members: (.*)", template.read_text(encoding="utf-8"))
    bases = {base for name in CLASSES for base in resolve(name).__mro__}
    foreign = {base.__name__ for base in bases if base.__module__.startswith("sklearn.")}
    assert foreign <= set(excluded.split(", "))
