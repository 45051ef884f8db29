"""Font faces that are installed, by the name in the font file.

A font file (TrueType or OpenType, ``.ttf``, ``.otf``, or a collection ``.ttc`` of several) has a
table ``name`` with family, style and version. Faces are identified by this table only: file names
are unreliable, and font libraries substitute missing faces silently, so that a figure could name
Arial and show another face.

Layout, all numbers big-endian: a collection begins with ``ttcf`` and a list of the offsets of its
faces; a face begins with a directory of tables (tag, checksum, offset, length); the table ``name``
contains records (platform, encoding, language, name id, length, offset), followed by the strings.
"""

from __future__ import annotations

import importlib.util
import os
import re
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any

from spikelca.datasets.base import DataError

PREFERENCE = (
    "Arial",
    "Liberation Sans",
    "Arimo",
    "Nimbus Sans",
    "Helvetica",
    "DejaVu Sans",
)
SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")
UPRIGHT = ("regular", "book", "roman", "normal", "plain")
PACKAGES = {"matplotlib": "mpl-data/fonts/ttf", "fontpkg_arimo": "files"}
FAMILY, STYLE, FULL_NAME, VERSION = 1, 2, 4, 5
MAX_FACES = 256
MAX_NAMES = 5
"""Number of installed families in an error."""


@dataclass(frozen=True)
class Face:
    """One face in a font file.

    Parameters
    ----------
    path : Path
        Font file.
    index : int
        Index in a collection; 0 in a file with one face.
    family, style, full_name, version : str
        Names in the font file, as ``"Arimo"``, ``"Regular"``, ``"Arimo Regular"``, ``"1.341"``.
    """

    path: Path
    index: int
    family: str
    style: str
    full_name: str
    version: str

    def __str__(self) -> str:
        """Describe the face for captions: family, style unless upright, version and file."""
        style = "" if self.is_upright else f" {self.style}"
        return f"{self.family}{style} {self.version} (file {self.path.name})"

    @property
    def is_upright(self) -> bool:
        """Whether this is the plain face of the family: not bold, italic, light or narrow."""
        return self.style.casefold() in UPRIGHT


def find_face(names: Iterable[str], folders: Iterable[Path] | None = None) -> Face:
    """Find the first of `names` that is installed; other faces are not substituted.

    Parameters
    ----------
    names : iterable of str
        Families (for their upright face) or full names such as ``"Arial Bold"``, in the order of
        preference.
    folders : iterable of Path, optional
        Folders to search (default: `font_folders`).

    Returns
    -------
    Face

    Raises
    ------
    DataError
        If none of them is installed; the message names the installed families.

    Examples
    --------
    >>> from spikelca.datasets.fonts import find_face
    >>> find_face(["No Such Face", "DejaVu Sans"]).family
    'DejaVu Sans'
    """
    candidates = list(names)
    faces = list(installed_faces(font_folders() if folders is None else folders))
    for name in candidates:
        for matches in (_is_family, _is_full_name):
            found = [face for face in faces if matches(face, name)]
            if found:
                return found[0]
    families = sorted({face.family for face in faces if face.is_upright})
    similar = get_close_matches(candidates[0], families, MAX_NAMES, cutoff=0.5)
    shown = similar or families[:MAX_NAMES]
    more = f" and {len(families) - len(shown)} more" if len(families) > len(shown) else ""
    raise DataError(
        f"`font` must be an installed face, got {' or '.join(map(repr, candidates))}. Installed: "
        f"{', '.join(shown) or 'no font at all'}{more}. Use one of these, the "
        "path of a .ttf or .otf file, or the shipped printed digits (font=None)."
    )


def _is_family(face: Face, name: str) -> bool:
    return face.is_upright and face.family.casefold() == name.casefold()


def _is_full_name(face: Face, name: str) -> bool:
    return face.full_name.casefold() == name.casefold()


def installed_faces(folders: Iterable[Path]) -> Iterator[Face]:
    """Yield every face in `folders` and their subfolders in a fixed order; skip invalid files."""
    for folder in folders:
        for path in sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES):
            try:
                faces = read_faces(path)
            except DataError:
                continue
            yield from faces


def font_folders() -> list[Path]:
    """List the font folders of the system, the user and Python packages."""
    home, env = Path.home(), os.environ
    if sys.platform == "win32":
        local = Path(env.get("LOCALAPPDATA", home / "AppData" / "Local"))
        candidates = [
            Path(env.get("WINDIR", "C:/Windows")) / "Fonts",
            local / "Microsoft" / "Windows" / "Fonts",
        ]
    elif sys.platform == "darwin":
        candidates = [
            Path("/System/Library/Fonts"),
            Path("/Library/Fonts"),
            home / "Library" / "Fonts",
        ]
    else:
        shared = env.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
        user = env.get("XDG_DATA_HOME") or str(home / ".local" / "share")
        candidates = [Path(data) / "fonts" for data in [user, *shared.split(":")] if data]
        candidates.append(home / ".fonts")
    unique = dict.fromkeys([*candidates, *_package_folders()])
    return [folder for folder in unique if folder.is_dir()]


def _package_folders() -> Iterator[Path]:
    """Yield the font folders of installed Python packages, without importing them."""
    for package, folder in PACKAGES.items():
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations or []) if spec else []:
            yield Path(location) / folder


def read_faces(path: str | os.PathLike[str]) -> list[Face]:
    """Read the names of the faces in a font file.

    Parameters
    ----------
    path : path
        TrueType or OpenType file, or a collection.

    Returns
    -------
    list of Face
        At least one face.

    Raises
    ------
    DataError
        If the file cannot be read or is not such a font.

    Examples
    --------
    >>> from spikelca.datasets.fonts import find_face, read_faces
    >>> [face.family for face in read_faces(find_face(["DejaVu Sans"]).path)]
    ['DejaVu Sans']
    """
    path = Path(path).expanduser()
    try:
        with path.open("rb") as file:
            starts = _face_starts(file)
            return [_read_face(file, path, index, start) for index, start in enumerate(starts)]
    except (OSError, struct.error, LookupError) as error:
        raise DataError(
            f"{path}: cannot be read as a font ({error}). Use a TrueType or OpenType file (.ttf, "
            ".otf, .ttc)."
        ) from error


def _face_starts(file: IO[bytes]) -> tuple[int, ...]:
    if file.read(4) != b"ttcf":
        return (0,)
    _, n_faces = _unpack(file, 4, ">II")
    if not 1 <= n_faces <= MAX_FACES:
        raise LookupError(f"a collection of {n_faces} faces")
    return _unpack(file, 12, f">{n_faces}I")


def _read_face(file: IO[bytes], path: Path, index: int, start: int) -> Face:
    names = _read_names(file, _find_name_table(file, start))
    version = re.search(r"\d+(\.\d+)*", names.get(VERSION, ""))
    family = names[FAMILY]
    return Face(
        path,
        index,
        family,
        names.get(STYLE, "Regular"),
        names.get(FULL_NAME, family),
        version.group() if version else "(no version)",
    )


def _find_name_table(file: IO[bytes], start: int) -> int:
    """Return the offset of the table ``name`` of the face that begins at `start`."""
    tag, n_tables = _unpack(file, start, ">4sH")
    if tag not in (b"\0\1\0\0", b"OTTO", b"true"):
        raise LookupError(f"first bytes {tag.hex(' ')}")
    for k in range(n_tables):
        tag, _, offset, _ = _unpack(file, start + 12 + 16 * k, ">4sIII")
        if tag == b"name":
            return int(offset)
    raise LookupError("no table 'name'")


def _read_names(file: IO[bytes], table: int) -> dict[int, str]:
    """Read the strings of the table by name id, preferably in English."""
    _, count, strings = _unpack(file, table, ">HHH")
    names: dict[int, str] = {}
    english: set[int] = set()
    for k in range(count):
        platform, _, language, name_id, length, offset = _unpack(file, table + 6 + 12 * k, ">6H")
        if name_id not in (FAMILY, STYLE, FULL_NAME, VERSION) or name_id in english:
            continue
        file.seek(table + strings + offset)
        coding = "mac_roman" if platform == 1 else "utf_16_be"
        names[name_id] = file.read(length).decode(coding, "replace").strip("\0 ")
        if (platform, language) in ((1, 0), (3, 0x409)):
            english.add(name_id)
    return names


def _unpack(file: IO[bytes], offset: int, layout: str) -> tuple[Any, ...]:
    file.seek(offset)
    return struct.unpack(layout, file.read(struct.calcsize(layout)))
