"""Printed digits, the second modality of the paper.

In the paper, a handwritten digit is linked with the printed digit of its label in Arial. Arial must
not be redistributed, so ten images are shipped that were rendered from Arimo, a free face with the
metrics of Arial. Other faces can be rendered from installed fonts. ``PrintedDigits.font`` names the
face; a missing face raises an error. ``data/printed_digits.txt`` describes the shipped images,
which were drawn by `render` as well.

`render` draws a digit at 16 times its size and centres it by its ink box, the smallest box around
the ink, because the margins of glyphs differ between faces. It then averages blocks of 16x16
pixels. The capital H has 20 of 28 pixels, or the same share of the shorter side in other shapes.
Averaging makes the result nearly independent of the version of the rasteriser.
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
    """Images of the ten digits in one font face.

    Parameters
    ----------
    images : ndarray of shape (10, h * w), float32
        Row ``d`` is the digit ``d``, with pixels from 0 to 1; read-only.
    font : str
        Font face, its version and source.
    image_shape : tuple of int
        Height and width in pixels.

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
    """Return images of the printed digits 0 to 9.

    Parameters
    ----------
    shape : tuple of int, default=(28, 28)
        Height and width in pixels, each at least 4. Digits have the same size relative to the
        shorter side.
    font : str or path, optional
        Font face. None for the shipped images of Arimo, which are resampled by area averages for
        shapes other than 28x28; ``"search"`` for the first installed one of Arial, Liberation
        Sans, Arimo, Nimbus Sans, Helvetica and DejaVu Sans; the path of a font file (``.ttf``,
        ``.otf``, ``.ttc``); or the name of an installed face.

    Returns
    -------
    PrintedDigits
        Images, and the name of the face in ``font``.

    Raises
    ------
    DataError
        If the face is not installed or the file is not a font with these digits.
    ValueError
        If `shape` is not two integers >= 4.

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
    face = _resolve_face(font)
    return PrintedDigits(render(face, shape), str(face), shape)


def glyphs_for(labels: ArrayLike, printed: PrintedDigits) -> Images:
    """Return the printed digit of each label.

    Parameters
    ----------
    labels : array-like of shape (n_samples,)
        Integers from 0 to 9.
    printed : PrintedDigits
        Images of the digits.

    Returns
    -------
    ndarray of shape (n_samples, h * w), float32
        New array.

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
            f"`labels` must be integers of shape (n_samples,), got shape {digits.shape} and dtype "
            f"{digits.dtype}. Convert them with np.asarray(labels, dtype=int)."
        )
    if digits.size and not (digits.min() >= 0 and digits.max() <= 9):
        raise ValueError(
            f"`labels` must be digits from 0 to 9, got {digits.min()} to {digits.max()}."
        )
    glyphs: Images = printed.images[digits]
    return glyphs


def _resolve_face(font: str | os.PathLike[str]) -> Face:
    """Find the face for the name or path given by the user."""
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
    """Resample by area averages to a square of the shorter side, and centre it in `shape`."""
    side = min(shape)
    weights = _area_weights(images.shape[1], side)
    out = np.zeros((len(images), *shape), dtype=np.float32)
    y, x = (shape[0] - side) // 2, (shape[1] - side) // 2
    out[:, y : y + side, x : x + side] = np.clip(weights @ images @ weights.T, 0.0, 1.0)
    return out.reshape(len(images), -1)


def _area_weights(n_in: int, n_out: int) -> NDArray[np.float64]:
    """Compute the share of each old pixel in each new one, (n_out, n_in); rows sum to 1."""
    scale = n_in / n_out
    start = np.arange(n_out)[:, None] * scale
    pixel = np.arange(n_in)
    overlap = np.minimum(start + scale, pixel + 1) - np.maximum(start, pixel)
    weights: NDArray[np.float64] = np.clip(overlap, 0.0, None) / scale
    return weights


def _check_shape(shape: tuple[int, int]) -> tuple[int, int]:
    sides = tuple(shape)
    are_integers = all(isinstance(side, (int, np.integer)) for side in sides)
    if len(sides) != 2 or not are_integers or min(sides) < 4:
        raise ValueError(
            f"`shape` must be (height, width) in pixels, two integers >= 4, got {shape!r}."
        )
    return int(sides[0]), int(sides[1])


Images = NDArray[np.float32]
CAP_HEIGHT = 20 / 28  # relative to the shorter side of the image
OVERSAMPLING = 16
DIGITS = "0123456789"


def render(face: Face, shape: tuple[int, int] = (28, 28)) -> Images:
    """Draw the ten digits of a face.

    Parameters
    ----------
    face : Face
        Font face, from `find_face` or `read_faces`.
    shape : tuple of int, default=(28, 28)
        Height and width in pixels.

    Returns
    -------
    ndarray of shape (10, h * w), float32
        Pixels from 0 to 1, quantised to 256 levels.

    Raises
    ------
    DataError
        If the file cannot be rendered, has no digits, or a digit is too wide.

    Examples
    --------
    >>> from spikelca.datasets.fonts import find_face
    >>> render(find_face(["DejaVu Sans"])).shape
    (10, 784)
    """
    try:
        _, top, _, bottom = _load_font(face, 1000).getbbox("H")
        if not bottom > top:
            raise DataError(f"{face}: the letter H is empty. Use a face for text.")
        pixels = 1000 * CAP_HEIGHT * min(shape) * OVERSAMPLING / (bottom - top)
        font = _load_font(face, pixels)
        images = np.stack([_draw_digit(font, digit, shape, face) for digit in DIGITS])
    except (OSError, MemoryError) as error:
        raise DataError(
            f"{face.path}: cannot be rendered ({error}). Use a complete TrueType or OpenType file."
        ) from error
    if len(np.unique(images, axis=0)) < len(DIGITS):
        raise DataError(
            f"{face}: several digits have the same image, as in faces without digits. Use a face "
            "for text."
        )
    return images


def _load_font(face: Face, pixels: float) -> FreeTypeFont:
    from PIL.ImageFont import Layout, truetype

    return truetype(face.path, pixels, index=face.index, layout_engine=Layout.BASIC)


def _draw_digit(font: FreeTypeFont, digit: str, shape: tuple[int, int], face: Face) -> Images:
    left, top, right, bottom = font.getbbox(digit)
    size = (math.ceil(right - left), math.ceil(bottom - top))
    canvas = (shape[1] * OVERSAMPLING, shape[0] * OVERSAMPLING)
    if min(size) < 1 or size[0] > canvas[0] or size[1] > canvas[1]:
        raise DataError(
            f"{face}: the digit {digit} must fit into {shape[1]} by {shape[0]} pixels, got "
            f"{size[0] / OVERSAMPLING:.3g} by {size[1] / OVERSAMPLING:.3g}. Use a face for text "
            "with digits, or a larger shape."
        )
    return _downsample(_centre(_draw_ink(font, digit, (left, top), size), canvas))


def _draw_ink(
    font: FreeTypeFont, digit: str, corner: tuple[float, float], size: tuple[int, int]
) -> Image:
    """Draw one digit in white on black, and crop it to its ink box."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (size[0] + 2, size[1] + 2))
    position = (1 - corner[0], 1 - corner[1])
    ImageDraw.Draw(image).text(position, digit, fill=255, font=font)
    return image.crop(image.getbbox())


def _centre(ink: Image, canvas: tuple[int, int]) -> NDArray[np.uint8]:
    """Paste the ink into the centre of an empty image."""
    from PIL import Image

    image = Image.new("L", canvas)
    image.paste(ink, ((canvas[0] - ink.width) // 2, (canvas[1] - ink.height) // 2))
    return np.asarray(image, dtype=np.uint8)


def _downsample(oversampled: NDArray[np.uint8]) -> Images:
    """Average blocks of the oversampled image, round to 256 levels and flatten."""
    h, w = (side // OVERSAMPLING for side in oversampled.shape)
    mean = oversampled.reshape(h, OVERSAMPLING, w, OVERSAMPLING).mean(axis=(1, 3))
    image: Images = (np.rint(mean) / 255).astype(np.float32).ravel()
    return image
