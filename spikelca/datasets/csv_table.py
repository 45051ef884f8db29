"""Tables of numbers and lists of labels from text files, read row by row.

The separator is the first of tab, semicolon and comma that divides the first line. With a tab or a
semicolon, a comma in a number is a decimal comma. The encoding is UTF-8, UTF-16 with a byte order
mark, or otherwise Latin-1. The first line decides by these rules:

=============================  ====================================================================
first line                     meaning
=============================  ====================================================================
numbers                        a sample
words                          a header
``0,1,2,...``                  an error: these may be pixels, or names written by pandas
numbers and words              an error: this may be a sample with a label, or a header
an empty cell, then a header   an error unless ``index``: names of rows, as written by pandas
=============================  ====================================================================

The parameters ``header`` and ``index`` decide instead. Lines are counted as in an editor.
"""

from __future__ import annotations

import csv
import math
import os
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.datasets.base import DataError

BLOCK_VALUES = 1 << 20
"""Numbers per block of `iter_csv`."""

Row = tuple[int, list[str]]
"""Number of the line in which a row begins, and its cells."""


def read_csv(
    path: str | os.PathLike[str], header: bool | None = None, index: bool = False
) -> NDArray[np.float64]:
    """Read a table of finite numbers, one sample per line.

    Parameters
    ----------
    path : path
        Text file with commas, semicolons or tabs between the numbers.
    header : bool, optional
        Whether the first line has the names of the columns. If None, a line of words is a header
        and a line of numbers is a sample; other lines raise an error.
    index : bool, default=False
        Whether the first column has the names of the rows, and is left out.

    Returns
    -------
    (n_samples, n_columns) float64

    Raises
    ------
    DataError
        If a cell is not a finite number, or the first line may be a header or a sample. The message
        has the file, the line and the column.
    OSError
        If the file does not exist or cannot be opened.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from spikelca.datasets import read_csv
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "table.csv"
    >>> _ = path.write_text("width;height\\n0,5;1\\n2;1e1\\n")
    >>> read_csv(path)
    array([[ 0.5,  1. ],
           [ 2. , 10. ]])
    """
    return np.concatenate(list(iter_csv(path, header, index)))


def iter_csv(
    path: str | os.PathLike[str], header: bool | None = None, index: bool = False
) -> Iterator[NDArray[np.float64]]:
    """Yield the rows of `read_csv` in blocks of bounded size."""
    rows, separator = _read_rows(Path(path))
    if separator != ",":
        rows = ((line, _to_points(cells)) for line, cells in rows)
    line, first = next(rows, (0, []))
    if not first:
        raise DataError(f"{path}: must have rows of numbers, got an empty file.")
    if header is None:
        header = _is_header(first, index, f"{path}, line {line}")
    if not header:
        rows = chain([(line, first)], rows)
    values, width, is_empty = array("d"), len(first), True
    for line, cells in rows:
        place = f"{path}, line {line}"
        if len(cells) != width:
            raise DataError(
                f"{place}: must have {width} columns as the first line, got {len(cells)}. "
                "Separate the columns by commas, semicolons or tabs."
            )
        values.extend(_to_numbers(cells[index:], place, 1 + index, is_empty and not header))
        is_empty = False
        if len(values) >= BLOCK_VALUES:
            yield np.frombuffer(values).reshape(-1, width - index)
            values = array("d")
    if is_empty or width == index:
        raise DataError(f"{path}: must have rows of numbers, got a header or an index only.")
    if values:
        yield np.frombuffer(values).reshape(-1, width - index)


def read_csv_labels(
    path: str | os.PathLike[str], header: bool | None = None, index: bool = False
) -> NDArray[Any]:
    """Read one label per line: whole numbers, numbers or words.

    If None, ``header`` is a word above numbers; the first of several words is a label.

    Raises
    ------
    DataError
        If a line has no label or several.
    """
    labels = []
    for line, cells in _read_rows(Path(path))[0]:
        if len(cells) != 1 + index or not cells[index].strip():
            raise DataError(
                f"{path}, line {line}: must have one label per line, got {cells}. With an index in "
                "the first column give --index."
            )
        labels.append(cells[index].strip())
    if header is None:
        header = len(labels) > 1 and not _are_numbers(labels[:1]) and _are_numbers(labels[1:])
    labels = labels[header:]
    if not labels:
        raise DataError(f"{path}: must have one label per line, got none.")
    if not _are_numbers(labels):
        return np.array(labels)
    numbers = np.array(labels, np.float64)
    if not np.isfinite(numbers).all():
        raise DataError(f"{path}: labels must be words or finite numbers, got NaN or infinity.")
    whole = numbers.astype(np.int64)
    return whole if np.array_equal(whole, numbers) else numbers


def _read_rows(path: Path) -> tuple[Iterator[Row], str]:
    """Return the rows of a file, and the separator of its columns."""
    encoding = _find_encoding(path)
    with path.open(encoding=encoding, newline="") as file:
        lines = (line for line in file if line.strip() and not line.startswith("#"))
        first = next(lines, "")
    parts = {s: len(next(csv.reader([first], delimiter=s), [])) for s in "\t;"}
    separator = next((s for s, n in parts.items() if n > 1), ",")
    return _iter_rows(path, encoding, separator), separator


def _iter_rows(path: Path, encoding: str, separator: str) -> Iterator[Row]:
    """Yield rows, without blank lines and without comments (``#``) before the first row."""
    line, is_first = 1, True
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.reader(file, delimiter=separator)
        try:
            for cells in reader:
                is_blank = not cells or (len(cells) == 1 and not cells[0].strip())
                if not is_blank and not (is_first and cells[0].startswith("#")):
                    is_first = False
                    yield line, cells
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{path}, line {line}: not a table of text ({error}).") from error


def _find_encoding(path: Path) -> str:
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16"
    try:
        with path.open(encoding="utf-8-sig") as text:
            while text.read(1 << 20):
                pass
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"


def _is_number(cell: str) -> bool:
    """Whether a cell is a number, also NaN or infinity; ``1_000`` is a word."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _are_numbers(cells: Sequence[str]) -> bool:
    return all(map(_is_number, cells))


def _is_header(cells: Sequence[str], index: bool, place: str) -> bool:
    """Decide by the rules of this module whether the first line is a header."""
    names = cells[index:]
    has_index_name = len(cells) > 1 and not cells[0].strip()
    if index and has_index_name:
        return True
    words = [cell for cell in names if cell.strip() and not _is_number(cell)]
    numbers = [cell.strip() for cell in names if _is_number(cell)]
    counted = bool(numbers) and numbers == [str(i) for i in range(len(names))]
    if not has_index_name and not (counted or (words and numbers)):
        return bool(words)
    advice = "Give --header if it has names, --no-header if it is a sample"
    if has_index_name:
        advice += ", --index if the first column has the names of the rows"
    shown = ",".join(cells[:6]) + (",..." if len(cells) > 6 else "")
    raise DataError(
        f"{place}: must be numbers (a sample) or words (a header), got {shown!r}. {advice} "
        "(in Python: header=True, header=False, index=True)."
    )


def _to_points(cells: list[str]) -> list[str]:
    """Replace decimal commas, unless there are points in the row."""
    has_points = any("." in cell for cell in cells)
    return cells if has_points else [cell.replace(",", ".") for cell in cells]


def _to_numbers(
    cells: Sequence[str], place: str, first_column: int, may_be_header: bool
) -> Sequence[float]:
    try:
        numbers = list(map(float, cells))
    except ValueError:
        numbers = [math.nan]
    if all(map(math.isfinite, numbers)) and "_" not in "".join(cells):
        return numbers
    column, cell = next(
        (column, cell)
        for column, cell in enumerate(cells, start=first_column)
        if not _is_number(cell) or not math.isfinite(float(cell))
    )
    got, advice = repr(cell[:40]), "Leave out this column; labels belong into a file of their own"
    if may_be_header:
        advice = "Write a number, or give --header if this is the header"
    if not cell.strip() or _is_number(cell):
        got = "NaN" if cell.strip() else "an empty cell"
        got = "infinity" if cell.strip() and math.isinf(float(cell)) else got
        advice = "Fill the gaps, or leave out the row"
    raise DataError(f"{place}, column {column}: must be a finite number, got {got}. {advice}.")
