"""Samples as tables: modalities as a mapping of arrays or data frames, or as lists of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from scipy import sparse

from spikelca.utils.validation import check_shape, reject_masked


def stack_modalities(
    X: Any, modalities: Mapping[str, Any] | None, observed: Sequence[str] | None = None
) -> Any:
    """Return X as one table with the columns in the order of the modalities.

    Parameters
    ----------
    X : array, data frame, or mapping of modality to array or data frame
    modalities : mapping of modality to number of columns or list of column names, optional
        Default: those of X.
    observed : sequence of str, optional
        Modalities that are sufficient (default: all). The table has all modalities, if X has them,
        otherwise the observed ones.

    Raises
    ------
    ValueError
        If a modality or a column is missing or unknown, or the samples do not correspond.
    """
    if is_mapping(X):
        present = {name: [name] for name in (X if modalities is None else modalities)}
        names = _choose(present, list(X), observed, "modalities")
        return _join({name: X[name] for name in names})
    by_name = {n: columns for n, columns in (modalities or {}).items() if is_column_list(columns)}
    if not by_name or (observed is not None and not hasattr(X, "columns")):
        return X
    if not hasattr(X, "columns"):
        raise TypeError(
            f"X must be a data frame for modalities with column names, got {type(X).__name__}. "
            "Use numbers of columns for arrays."
        )
    names = _choose(by_name, list(X.columns), observed, "columns")
    return X[[column for name in names for column in by_name[name]]]


def is_mapping(X: Any) -> bool:
    """Whether X is a mapping of modalities; a sparse array of SciPy may be a dict, too."""
    return isinstance(X, Mapping) and not sparse.issparse(X)


def is_column_list(columns: Any) -> bool:
    """Whether a modality is given by the names of its columns."""
    return not isinstance(columns, str) and isinstance(columns, Sequence)


def count_columns(X: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of columns of each modality of a mapping."""
    return {name: int(check_shape(table, f"X[{name!r}]").shape[1]) for name, table in X.items()}


def check_widths(X: Mapping[str, Any], modalities: Mapping[str, Any]) -> None:
    """Raise ValueError if a table of a mapping has another number of columns than its modality."""
    for name, found in count_columns(X).items():
        expected = modalities.get(name, found)
        expected = len(expected) if is_column_list(expected) else expected
        if found != expected:
            raise ValueError(f"X[{name!r}] must have {expected} columns, got {found}.")


def _choose(
    needed: Mapping[str, Sequence[str]],
    found: Sequence[str],
    observed: Sequence[str] | None,
    kind: str,
) -> list[str]:
    """Return the modalities to take: all if they are there, otherwise the observed ones."""
    has_all = all(item in found for items in needed.values() for item in items)
    names = list(needed) if has_all or observed is None else list(observed)
    missing = [item for name in names for item in needed[name] if item not in found]
    known = {item for items in needed.values() for item in items}
    unknown = [item for item in found if item not in known]
    if missing or unknown:
        raise ValueError(
            f"X must have the {kind} {[i for name in names for i in needed[name]][:20]}, got "
            f"{list(found)[:20]}: missing {missing[:20]}, unknown {unknown[:20]}. Drop {kind} that "
            "belong to none of the modalities."
        )
    return names


def _join(tables: Mapping[str, Any]) -> Any:
    """Join tables with equal samples side by side."""
    for name, table in tables.items():
        reject_masked(table, f"X[{name!r}]")
    rows = {name: len(table) for name, table in tables.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"X must have the same number of samples in all modalities, got {rows}.")
    if not all(hasattr(table, "iloc") for table in tables.values()):
        return np.hstack([check_shape(table, f"X[{name!r}]") for name, table in tables.items()])
    first = next(iter(tables.values()))
    if not all(table.index.equals(first.index) for table in tables.values()):
        raise ValueError(
            "X must have data frames with the same index in all modalities, got different ones. "
            "Sort them, or use reset_index(drop=True) if rows correspond by position."
        )
    return import_module("pandas").concat(list(tables.values()), axis=1)


class InOrder(dict[str, Any]):
    """A mapping whose representation keeps the order of the keys, also in `pprint`."""

    def __repr__(self) -> str:
        return repr(dict(self))
