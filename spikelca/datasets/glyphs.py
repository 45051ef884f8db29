"""Printed digits: the second view of a digit, the same for everyone who writes it.

In the paper a handwritten digit is linked with the printed digit of its label, set in Arial. Arial
may not be passed on, so ten pictures are shipped that were rendered from Arimo, a free face drawn
to Arial's measures; who has Arial can ask for it. What was used is always said, in
``PrintedDigits.font``, and a face that was asked for by name is that face or an error.

The shipped pictures were drawn by the same :func:`spikelca.datasets.render.render` that draws any
other face; ``data/printed_digits.txt`` beside them says from which file and how.

How a printed digit is drawn from a font file, so that every face is treated alike.

A digit is drawn sixteen times too large. Its *ink box*, the smallest box around the ink, is put in
the middle of the picture: the box that a typesetter reserves for a letter has its own margins, and
two faces centred by those would differ by their margins first. Then every block of 16x16 pixels is
averaged into one. The size follows the capital H: it fills 20 of 28 pixels, in other shapes the
same part of the shorter side. Because the grey comes from the averaging, the result hardly depends
on the rasteriser's version.
"""

from __future__ import annotations

import io
import math
import os
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.datasets.base import DataError, readonly_view
from spikelca.datasets.fonts import PREFERENCE, SUFFIXES, Face, find_face, read_faces

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont


SHIPPED_SHAPE = (28, 28)
SHIPPED_FONT = "Arimo 1.341 (shipped, OFL-1.1)"


@dataclass(frozen=True, eq=False)
class PrintedDigits:
    """The ten digits in one printed face.

    Parameters
    ----------
    images : ndarray of shape (10, h * w), float32
        Row ``d`` is the digit ``d``; ink from 0 to 1; read-only.
    font : str
        The face really used, its version and where it came from.
    image_shape : tuple of int
        ``(h, w)`` in pixels.

    Examples
    --------
    >>> from spikelca.datasets import printed_digits
    >>> printed_digits((8, 8)).font
    'Arimo 1.341 (shipped, OFL-1.1), resampled to 8x8'
    """

    images: Images = field(repr=False)
    font: str
    image_shape: tuple[int, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", readonly_view(self.images))


def printed_digits(
    shape: tuple[int, int] = SHIPPED_SHAPE, font: str | os.PathLike[str] | None = None
) -> PrintedDigits:
    """Return the digits 0 to 9 in print.

    Parameters
    ----------
    shape : tuple of int, default=(28, 28)
        ``(h, w)`` in pixels, each 4 or more. Digits fill the same part of the shorter side always.
    font : str or path, optional
        None: the shipped pictures of Arimo, averaged over areas for another `shape` than 28x28.
        ``"search"``: the first of Arial, Liberation Sans, Arimo, Nimbus Sans, Helvetica and DejaVu
        Sans that this machine has. The path of a font file (``.ttf``, ``.otf``, ``.ttc``): that
        file. Any other word: the installed face of exactly that name.

    Returns
    -------
    PrintedDigits
        Its ``font`` says which face it really is.

    Raises
    ------
    DataError
        If the face is not installed or the file is not a font with these digits.
    ValueError
        If `shape` is not two whole numbers of 4 or more.

    Examples
    --------
    >>> from spikelca.datasets import printed_digits
    >>> printed = printed_digits()
    >>> printed.images.shape, printed.font
    ((10, 784), 'Arimo 1.341 (shipped, OFL-1.1)')
    >>> printed_digits(font="DejaVu Sans").font.startswith("DejaVu Sans ")
    True
    """
    shape = _check_shape(shape)
    if font is None:
        return _load_shipped(shape)
    face = _face(font)
    return PrintedDigits(render(face, shape), str(face), shape)


def glyphs_for(labels: ArrayLike, printed: PrintedDigits) -> Images:
    """Return the printed digit of each label.

    Parameters
    ----------
    labels : array-like of shape (n,)
        Whole numbers from 0 to 9.
    printed : PrintedDigits
        The face to take.

    Returns
    -------
    ndarray of shape (n, h * w), float32
        A new array.

    Raises
    ------
    ValueError
        If a label is not a digit.

    Examples
    --------
    >>> from spikelca.datasets import glyphs_for, printed_digits
    >>> glyphs_for([3, 1, 4, 1], printed_digits()).shape
    (4, 784)
    """
    digits = np.asarray(labels)
    if digits.ndim != 1 or digits.dtype.kind not in "iu":
        raise ValueError(
            f"found labels of shape {digits.shape} and type {digits.dtype}; awaited one whole "
            "number per sample, shape (n,). Convert them with np.asarray(labels, dtype=int)."
        )
    if digits.size and not (digits.min() >= 0 and digits.max() <= 9):
        raise ValueError(
            f"found labels from {digits.min()} to {digits.max()}; awaited digits from 0 to 9, for "
            "only these have a printed picture here."
        )
    glyphs: Images = printed.images[digits]
    return glyphs


def _face(font: str | os.PathLike[str]) -> Face:
    """Turn what the caller named into a face that exists."""
    name = os.fspath(font)
    if name == "search":
        return find_face(PREFERENCE)
    is_path = not isinstance(font, str) or Path(name).suffix.lower() in SUFFIXES
    return read_faces(name)[0] if is_path else find_face([name])


def _load_shipped(shape: tuple[int, int]) -> PrintedDigits:
    data = files("spikelca.datasets").joinpath("data", "printed_digits.npy").read_bytes()
    levels = np.load(io.BytesIO(data), allow_pickle=False)
    images = (levels / 255).astype(np.float32)
    if shape == SHIPPED_SHAPE:
        return PrintedDigits(images.reshape(10, -1), SHIPPED_FONT, shape)
    name = f"{SHIPPED_FONT}, resampled to {shape[0]}x{shape[1]}"
    return PrintedDigits(_resample(images, shape), name, shape)


def _resample(images: Images, shape: tuple[int, int]) -> Images:
    """Average over areas to a square of the shorter side, and centre that in `shape`."""
    side = min(shape)
    mean = _area_weights(images.shape[1], side)
    out = np.zeros((len(images), *shape), dtype=np.float32)
    y, x = (shape[0] - side) // 2, (shape[1] - side) // 2
    out[:, y : y + side, x : x + side] = np.clip(mean @ images @ mean.T, 0.0, 1.0)
    return out.reshape(len(images), -1)


def _area_weights(n_in: int, n_out: int) -> NDArray[np.float64]:
    """Return (n_out, n_in) weights: the share of each old pixel in each new one; rows sum to 1."""
    scale = n_in / n_out
    start = np.arange(n_out)[:, None] * scale
    old = np.arange(n_in)
    overlap = np.minimum(start + scale, old + 1) - np.maximum(start, old)
    weights: NDArray[np.float64] = np.clip(overlap, 0.0, None) / scale
    return weights


def _check_shape(shape: tuple[int, int]) -> tuple[int, int]:
    sides = tuple(shape)
    whole = all(isinstance(side, (int, np.integer)) for side in sides)
    if len(sides) != 2 or not whole or min(sides) < 4:
        raise ValueError(
            f"found shape={shape!r}; awaited (height, width) in whole pixels, each 4 or more."
        )
    return int(sides[0]), int(sides[1])


Images = NDArray[np.float32]
CAP_HEIGHT = 20 / 28  # of the picture's shorter side
OVERSAMPLING = 16
DIGITS = "0123456789"


def render(face: Face, shape: tuple[int, int] = (28, 28)) -> Images:
    """Draw the ten digits of a face.

    Parameters
    ----------
    face : Face
        From :func:`spikelca.datasets.fonts.find_face` or ``read_faces``.
    shape : tuple of int, default=(28, 28)
        ``(h, w)`` in pixels.

    Returns
    -------
    ndarray of shape (10, h * w), float32
        Ink from 0 to 1, quantised to 256 levels.

    Raises
    ------
    DataError
        If the file cannot be drawn from, has no digits, or a digit is too wide.

    Examples
    --------
    >>> from spikelca.datasets.fonts import find_face

    >>> render(find_face(["DejaVu Sans"])).shape
    (10, 784)
    """
    try:
        _, top, _, bottom = _font(face, 1000).getbbox("H")
        if not bottom > top:
            raise DataError(f"{face}: found no ink in the letter H; awaited a face for text.")
        pixels = 1000 * CAP_HEIGHT * min(shape) * OVERSAMPLING / (bottom - top)
        font = _font(face, pixels)
        pictures = np.stack([_digit(font, digit, shape, face) for digit in DIGITS])
    except (OSError, MemoryError) as error:
        raise DataError(
            f"{face.path}: found a font that cannot be drawn ({error}); awaited a complete "
            "TrueType or OpenType file. Name another face."
        ) from error
    if len(np.unique(pictures, axis=0)) < len(DIGITS):
        raise DataError(
            f"{face}: found one picture for several digits, the sign of a face without digits; "
            "awaited ten different ones. Name a text face."
        )
    return pictures


def _font(face: Face, pixels: float) -> FreeTypeFont:
    from PIL.ImageFont import Layout, truetype

    return truetype(face.path, pixels, index=face.index, layout_engine=Layout.BASIC)


def _digit(font: FreeTypeFont, digit: str, shape: tuple[int, int], face: Face) -> Images:
    left, top, right, bottom = font.getbbox(digit)
    size = (math.ceil(right - left), math.ceil(bottom - top))
    room = (shape[1] * OVERSAMPLING, shape[0] * OVERSAMPLING)
    if min(size) < 1 or size[0] > room[0] or size[1] > room[1]:
        raise DataError(
            f"{face}: found ink of {size[0] / OVERSAMPLING:.3g} by {size[1] / OVERSAMPLING:.3g} "
            f"pixels in the digit {digit}; awaited some that fits into {shape[1]} by {shape[0]}. "
            "Name a text face with digits, or a wider shape."
        )
    return _reduce(_centre(_ink(font, digit, (left, top), size), room))


def _ink(
    font: FreeTypeFont, digit: str, corner: tuple[float, float], size: tuple[int, int]
) -> Image:
    """Draw one digit, white on black, and cut it out along its ink."""
    from PIL import Image, ImageDraw

    paper = Image.new("L", (size[0] + 2, size[1] + 2))
    at = (1 - corner[0], 1 - corner[1])
    ImageDraw.Draw(paper).text(at, digit, fill=255, font=font)
    return paper.crop(paper.getbbox())


def _centre(ink: Image, room: tuple[int, int]) -> NDArray[np.uint8]:
    """Put the ink in the middle of an empty picture."""
    from PIL import Image

    paper = Image.new("L", room)
    paper.paste(ink, ((room[0] - ink.width) // 2, (room[1] - ink.height) // 2))
    return np.asarray(paper, dtype=np.uint8)


def _reduce(large: NDArray[np.uint8]) -> Images:
    """Average every block of the oversampled picture into one of 256 levels; return a row."""
    h, w = (side // OVERSAMPLING for side in large.shape)
    mean = large.reshape(h, OVERSAMPLING, w, OVERSAMPLING).mean(axis=(1, 3))
    picture: Images = (np.rint(mean) / 255).astype(np.float32).ravel()
    return picture
