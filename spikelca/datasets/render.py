"""How a printed digit is drawn from a font file, so that every face is treated alike.

A digit is drawn sixteen times too large. Its *ink box*, the smallest box around the ink, is put in
the middle of the picture: the box that a typesetter reserves for a letter has its own margins, and
two faces centred by those would differ by their margins first. Then every block of 16x16 pixels is
averaged into one. The size follows the capital H: it fills 20 of 28 pixels, in other shapes the
same part of the shorter side. Because the grey comes from the averaging, the result hardly depends
on the rasteriser's version.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spikelca.datasets.base import DataError
from spikelca.datasets.fonts import Face

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

Pictures = NDArray[np.float32]
CAP_HEIGHT = 20 / 28  # of the picture's shorter side
OVERSAMPLING = 16
DIGITS = "0123456789"


def render(face: Face, shape: tuple[int, int] = (28, 28)) -> Pictures:
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
    >>> from spikelca.datasets.render import render
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


def _digit(font: FreeTypeFont, digit: str, shape: tuple[int, int], face: Face) -> Pictures:
    left, top, right, bottom = font.getbbox(digit)
    size = (math.ceil(right - left), math.ceil(bottom - top))
    room = (shape[1] * OVERSAMPLING, shape[0] * OVERSAMPLING)
    if min(size) < 1 or size[0] > room[0] or size[1] > room[1]:
        raise DataError(
            f"{face}: found ink of {size[0] / OVERSAMPLING:.3g} by {size[1] / OVERSAMPLING:.3g} "
            f"pixels in the digit {digit}; awaited some that fits into {shape[1]} by {shape[0]}. "
            "Name a text face with digits, or a wider shape."
        )
    return _reduce(_centred(_ink(font, digit, (left, top), size), room))


def _ink(
    font: FreeTypeFont, digit: str, corner: tuple[float, float], size: tuple[int, int]
) -> Image:
    """Draw one digit, white on black, and cut it out along its ink."""
    from PIL import Image, ImageDraw

    paper = Image.new("L", (size[0] + 2, size[1] + 2))
    at = (1 - corner[0], 1 - corner[1])
    ImageDraw.Draw(paper).text(at, digit, fill=255, font=font)
    return paper.crop(paper.getbbox())


def _centred(ink: Image, room: tuple[int, int]) -> NDArray[np.uint8]:
    """Put the ink in the middle of an empty picture."""
    from PIL import Image

    paper = Image.new("L", room)
    paper.paste(ink, ((room[0] - ink.width) // 2, (room[1] - ink.height) // 2))
    return np.asarray(paper, dtype=np.uint8)


def _reduce(large: NDArray[np.uint8]) -> Pictures:
    """Average every block of the oversampled picture into one of 256 levels; return a row."""
    h, w = (side // OVERSAMPLING for side in large.shape)
    mean = large.reshape(h, OVERSAMPLING, w, OVERSAMPLING).mean(axis=(1, 3))
    picture: Pictures = (np.rint(mean) / 255).astype(np.float32).ravel()
    return picture
