"""IDX files, the format of MNIST, validated on reading.

An IDX file is a short header and a block of numbers, all big-endian::

    byte  0-1   zero
    byte  2     kind of number: 0x08 unsigned byte, 0x09 signed byte, 0x0B int16, 0x0C int32,
                0x0D float32, 0x0E float64
    byte  3     number of dimensions d
    then        d sizes, 4 bytes each
    then        the numbers, as many as the product of the sizes, last index fastest

The images of MNIST are a (n, 28, 28) block of unsigned bytes, its labels a (n,) block. Files are
untrusted: the declared size is compared with the size of the file before memory is allocated, a
compressed stream is read in chunks and at most one byte beyond the declared end, and MNIST must
have the SHA-256 digests below. Digests are of decoded bytes, because the same pixels can be
compressed in many ways.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from spikelca.datasets.base import DataError, ImageData

KINDS = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CODES = {np.dtype(kind).newbyteorder("="): code for code, kind in KINDS.items()}
MAX_NDIM = 4
CHUNK_BYTES = 1 << 20
DEFLATE_LIMIT = 1032  # maximum compression ratio of deflate

MNIST_SHA256 = {
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an IDX file, with or without gzip.

    Parameters
    ----------
    path : path
        File to read. Compression is detected from its first bytes, not from its name.

    Returns
    -------
    ndarray
        Numbers in the declared shape, in native byte order; read-only.

    Raises
    ------
    DataError
        If the file cannot be read, or is not one complete IDX file.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from spikelca.datasets import read_idx
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "three.idx1-ubyte"
    >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    >>> read_idx(file)
    array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            is_gzip = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            size = os.fstat(raw.fileno()).st_size
            if not is_gzip:
                return _parse(raw, size, path)
            with gzip.GzipFile(fileobj=raw) as stream:
                return _parse(stream, size * DEFLATE_LIMIT, path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be read to its end ({error}). Get a complete IDX file, with or "
            "without gzip."
        ) from error


def load_mnist_folder(folder: str | os.PathLike[str], verify: bool = True) -> ImageData:
    """Load MNIST from a folder with its four IDX files.

    Parameters
    ----------
    folder : path
        Folder with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
        ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``. The last hyphen may be a dot, and
        the suffix ``.gz`` is allowed.
    verify : bool, default=True
        Whether to require the SHA-256 digests of MNIST. If False, other data sets in four files of
        this form are loaded, and ``name`` contains "not verified".

    Returns
    -------
    ImageData
        Images, with pixels divided by 255.

    Raises
    ------
    DataError
        If a file is missing, damaged, of the wrong type, not from MNIST, or inconsistent with the
        others.

    Examples
    --------
    >>> from spikelca.datasets import load_mnist_folder
    >>> data = load_mnist_folder("mnist/")                              # doctest: +SKIP
    >>> data.name, data.X_train.shape                                   # doctest: +SKIP
    ('MNIST (IDX files, SHA-256 verified)', (60000, 784))
    """
    folder = Path(folder).expanduser()
    arrays = {role: _read_role(folder, role, verify) for role in MNIST_SHA256}
    name = "MNIST (IDX files, SHA-256 verified)"
    if not verify:
        name = f"IDX files in {folder.resolve().name} (not verified)"
    return make_image_data(name, arrays, str(folder))


def idx_header(array: NDArray[Any]) -> bytes:
    """Make the header of the IDX file of `array`."""
    code = CODES[array.dtype.newbyteorder("=")]
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)


def check_digest(array: NDArray[np.uint8], role: str, source: str) -> None:
    """Raise DataError unless `array` has the digest of the file `role` of MNIST."""
    digest = hashlib.sha256(idx_header(array))
    digest.update(np.ascontiguousarray(array))
    if digest.hexdigest() != MNIST_SHA256[role]:
        raise DataError(
            f"{source}: wrong SHA-256 of the decoded bytes (got {digest.hexdigest()}, expected "
            f"{MNIST_SHA256[role]} for the {role} of MNIST). Get the file again; for other data in "
            "IDX files use load_images(folder, verify=False), or --no-verify on the command line."
        )


def make_image_data(name: str, arrays: dict[str, NDArray[np.uint8]], source: str) -> ImageData:
    """Check that the four arrays are consistent, and make an `ImageData`."""
    for subset in ("train", "t10k"):
        images, labels = arrays[f"{subset}-images"], arrays[f"{subset}-labels"]
        if len(images) != len(labels):
            raise DataError(
                f"{source}: must have one label per image, got {len(images)} {subset} images and "
                f"{len(labels)} {subset} labels. Use four files of one source."
            )
    shapes = [arrays[f"{subset}-images"].shape[1:] for subset in ("train", "t10k")]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"{source}: images must have one shape, got train images of {shapes[0]} and t10k "
            f"images of {shapes[1]} pixels. Use four files of one source."
        )
    return ImageData(
        name,
        _scale_to_unit(arrays["train-images"]),
        arrays["train-labels"].astype(np.int64),
        _scale_to_unit(arrays["t10k-images"]),
        arrays["t10k-labels"].astype(np.int64),
        (shapes[0][0], shapes[0][1]),
    )


def _scale_to_unit(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.divide(images.reshape(len(images), -1), np.float32(255), dtype=np.float32)


def _read_role(folder: Path, role: str, verify: bool) -> NDArray[np.uint8]:
    path = _find_file(folder, role)
    array = read_idx(path)
    ndim = 3 if role.endswith("images") else 1
    if array.ndim != ndim or array.dtype != np.uint8:
        raise DataError(
            f"{path}: must contain {_describe_shape(ndim)} of uint8 by its name, got "
            f"{_describe_shape(array.ndim)} of {array.dtype}. Check whether files were renamed or "
            "exchanged."
        )
    if verify:
        check_digest(array, role, str(path))
    return array


def _describe_shape(ndim: int) -> str:
    return {1: "a list (labels)", 3: "a stack of images"}.get(ndim, f"{ndim} dimensions")


def _find_file(folder: Path, role: str) -> Path:
    ndim = 3 if role.endswith("images") else 1
    stems = [f"{role}{separator}idx{ndim}-ubyte" for separator in "-."]
    names = [stem + suffix for stem in stems for suffix in ("", ".gz")]
    # Some archives unpack each file into a folder of its name.
    for path in [folder / name for name in names] + [folder / n / m for n in names for m in names]:
        if path.is_file():
            return path
    entries = sorted(folder.iterdir())[:8] if folder.is_dir() else []
    content = [f"{entry.name} (a folder)" if entry.is_dir() else entry.name for entry in entries]
    raise DataError(
        f"{folder}: no file {stems[0]} (nor with a dot before idx, nor with .gz); the folder "
        f"contains {', '.join(content) or 'nothing'}. Give the folder with the four IDX files of "
        "MNIST."
    )


def _parse(stream: IO[bytes] | gzip.GzipFile, limit: int, path: Path) -> NDArray[Any]:
    """Read header and numbers of a stream that can contain at most `limit` bytes."""
    dtype, shape = _read_header(stream, path)
    declared = math.prod(shape) * dtype.itemsize
    if declared > limit:
        raise DataError(
            f"{path}: the header declares {declared} bytes for shape {shape}, but the file cannot "
            f"contain more than {limit}. Get the file again."
        )
    payload = _read_up_to(stream, declared + 1)
    if len(payload) != declared:
        got = f"{len(payload)} bytes" if len(payload) < declared else "more bytes"
        raise DataError(
            f"{path}: the header declares {declared} bytes for shape {shape}, got {got}. The file "
            "is truncated or has additional bytes: get it again."
        )
    numbers = np.frombuffer(payload, dtype).reshape(shape)
    native = numbers.astype(dtype.newbyteorder("="), copy=False)
    native.flags.writeable = False
    return native


def _read_header(
    stream: IO[bytes] | gzip.GzipFile, path: Path
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in KINDS:
        raise DataError(
            f"{path}: not an IDX file (first bytes {magic.hex(' ') or '(none)'}; expected 00 00, "
            "the code of a dtype and the number of dimensions)."
        )
    ndim = magic[3]
    sizes = stream.read(4 * ndim)
    shape = struct.unpack(f">{len(sizes) // 4}I", sizes[: len(sizes) // 4 * 4])
    if not 1 <= ndim <= MAX_NDIM or len(shape) != ndim or 0 in shape:
        raise DataError(
            f"{path}: must have 1 to {MAX_NDIM} dimensions, each with a size >= 1, got {ndim} "
            f"dimensions of sizes {shape[:MAX_NDIM]}. The file is damaged: get it again."
        )
    return np.dtype(KINDS[magic[2]]), shape


def _read_up_to(stream: IO[bytes] | gzip.GzipFile, n_bytes: int) -> bytearray:
    """Read at most `n_bytes` in chunks, so that memory grows with the file, not with the header."""
    payload = bytearray()
    while len(payload) < n_bytes:
        chunk = stream.read(min(CHUNK_BYTES, n_bytes - len(payload)))
        if not chunk:
            break
        payload += chunk
    return payload
