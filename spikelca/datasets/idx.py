"""IDX, the format in which MNIST was published, read with suspicion.

An IDX file is a short header and a block of numbers, all big-endian::

    byte  0-1   zero
    byte  2     kind of number: 0x08 unsigned byte, 0x09 signed byte, 0x0B int16, 0x0C int32,
                0x0D float32, 0x0E float64
    byte  3     number of dimensions d
    then        d sizes, 4 bytes each
    then        the product of the sizes many numbers, last index fastest

MNIST's images are a (n, 28, 28) block of unsigned bytes and its labels a (n,) block. Everything in
such a file is a claim of the file about itself, so each claim is checked before it is believed: the
declared size is compared with the bytes at hand before memory is taken for them, a compressed
stream is unpacked in pieces and never further than one byte behind the declared end, and the
decoded MNIST files must have the SHA-256 digests written below. The digest is of the decoded
bytes, because the same pixels may be compressed in many ways.
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
DEFLATE_LIMIT = 1032  # no deflate stream unpacks to more than this many times its own length

MNIST_SHA256 = {
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read one IDX file, gzipped or not.

    Parameters
    ----------
    path : path
        The file. Whether it is gzipped is read from its first bytes, not from its name.

    Returns
    -------
    ndarray
        The block of numbers in its declared shape, in the byte order of this machine, read-only.

    Raises
    ------
    DataError
        If the file cannot be read, or is anything but one complete IDX file.

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
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            size = os.fstat(raw.fileno()).st_size
            if not packed:
                return _parse(raw, size, path)
            with gzip.GzipFile(fileobj=raw) as stream:
                return _parse(stream, size * DEFLATE_LIMIT, path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: found a file that cannot be read to its end ({error}); awaited a complete "
            "IDX file, gzipped or not. Fetch it again."
        ) from error


def load_mnist_folder(folder: str | os.PathLike[str], verify: bool = True) -> ImageData:
    """Load MNIST from a folder that holds its four IDX files.

    Parameters
    ----------
    folder : path
        Holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte``
        and ``t10k-labels-idx1-ubyte``; a dot may stand before ``idx``, and each may end in ``.gz``.
    verify : bool, default=True
        Whether the decoded files must be MNIST's, by SHA-256. Without it any data set in the same
        four files is taken, and its name says that it was not verified.

    Returns
    -------
    ImageData
        Pixels divided by 255.

    Raises
    ------
    DataError
        If a file is missing, damaged, of the wrong kind, not MNIST's, or does not fit the others.

    Examples
    --------
    >>> from spikelca.datasets import load_mnist_folder
    >>> data = load_mnist_folder("mnist/")                              # doctest: +SKIP
    >>> data.name, data.X_train.shape                                   # doctest: +SKIP
    ('MNIST (IDX files, SHA-256 verified)', (60000, 784))
    """
    folder = Path(folder).expanduser()
    parts = {role: _read_role(folder, role, verify) for role in MNIST_SHA256}
    name = "MNIST (IDX files, SHA-256 verified)"
    if not verify:
        name = f"IDX files in {folder.resolve().name} (not verified)"
    return make_image_data(name, parts, str(folder))


def idx_header(array: NDArray[Any]) -> bytes:
    """Return the header that an IDX file of `array` begins with."""
    code = CODES[array.dtype.newbyteorder("=")]
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)


def check_digest(array: NDArray[np.uint8], role: str, source: str) -> None:
    """Raise DataError unless `array` is, byte for byte, MNIST's file `role`."""
    digest = hashlib.sha256(idx_header(array))
    digest.update(np.ascontiguousarray(array))
    if digest.hexdigest() != MNIST_SHA256[role]:
        raise DataError(
            f"{source}: found decoded bytes with SHA-256 {digest.hexdigest()}; awaited "
            f"{MNIST_SHA256[role]}, which MNIST's {role} have. Fetch the file again; for other "
            "data in IDX files call load_mnist_folder(folder, verify=False)."
        )


def make_image_data(name: str, parts: dict[str, NDArray[np.uint8]], source: str) -> ImageData:
    """Put the four blocks of bytes together, after checking that they belong together."""
    for part in ("train", "t10k"):
        images, labels = parts[f"{part}-images"], parts[f"{part}-labels"]
        if len(images) != len(labels):
            raise DataError(
                f"{source}: found {len(images)} {part} images and {len(labels)} {part} labels; "
                "awaited one label per image. Take all four files from one source."
            )
    shapes = [parts[f"{part}-images"].shape[1:] for part in ("train", "t10k")]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"{source}: found train images of {shapes[0]} and t10k images of {shapes[1]} pixels; "
            "awaited one shape. Take all four files from one source."
        )
    return ImageData(
        name,
        _scale_to_unit(parts["train-images"]),
        parts["train-labels"].astype(np.int64),
        _scale_to_unit(parts["t10k-images"]),
        parts["t10k-labels"].astype(np.int64),
        (shapes[0][0], shapes[0][1]),
    )


def _scale_to_unit(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.divide(images.reshape(len(images), -1), np.float32(255), dtype=np.float32)


def _read_role(folder: Path, role: str, verify: bool) -> NDArray[np.uint8]:
    path = _find(folder, role)
    array = read_idx(path)
    ndim = 3 if role.endswith("images") else 1
    if array.ndim != ndim or array.dtype != np.uint8:
        raise DataError(
            f"{path}: found {_describe_shape(array.ndim)} of {array.dtype}; awaited {_describe_shape(ndim)} of "
            "uint8, as the file's name says. Was the file renamed or mixed up with another?"
        )
    if verify:
        check_digest(array, role, str(path))
    return array


def _describe_shape(ndim: int) -> str:
    return {1: "a list (labels)", 3: "a stack of images"}.get(ndim, f"{ndim} dimensions")


def _find(folder: Path, role: str) -> Path:
    dims = 3 if role.endswith("images") else 1
    stems = [f"{role}{mark}idx{dims}-ubyte" for mark in "-."]
    for name in [stem + end for stem in stems for end in ("", ".gz")]:
        if (folder / name).is_file():
            return folder / name
    found = sorted(entry.name for entry in folder.iterdir())[:8] if folder.is_dir() else []
    raise DataError(
        f"{folder}: found {', '.join(found) or 'nothing'}; awaited {stems[0]}, with a dot for the "
        "last hyphen before idx or not, with .gz or not. Name the folder that holds MNIST's four "
        "IDX files."
    )


def _parse(stream: IO[bytes] | gzip.GzipFile, limit: int, path: Path) -> NDArray[Any]:
    """Read header and numbers; `limit` bytes are the most that the stream can hold."""
    kind, shape = _header(stream, path)
    declared = math.prod(shape) * kind.itemsize
    if declared > limit:
        raise DataError(
            f"{path}: found a header that declares {declared} bytes for {shape}, and a file that "
            f"cannot hold more than {limit}; awaited as many as declared. Fetch it again."
        )
    payload = _read_up_to(stream, declared + 1)
    if len(payload) != declared:
        found = f"{len(payload)} bytes" if len(payload) < declared else "more bytes than that"
        raise DataError(
            f"{path}: found {found} after a header that declares {declared} for {shape}; awaited "
            "exactly as many. The file is cut short or has something appended: fetch it again."
        )
    numbers = np.frombuffer(payload, kind).reshape(shape)
    native = numbers.astype(kind.newbyteorder("="), copy=False)
    native.flags.writeable = False
    return native


def _header(stream: IO[bytes] | gzip.GzipFile, path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in KINDS:
        raise DataError(
            f"{path}: found the first bytes {magic.hex(' ') or '(none)'}; awaited 00 00 08 0d with "
            "d dimensions, as an IDX file begins. This is another kind of file."
        )
    ndim = magic[3]
    sizes = stream.read(4 * ndim)
    shape = struct.unpack(f">{len(sizes) // 4}I", sizes[: len(sizes) // 4 * 4])
    if not 1 <= ndim <= MAX_NDIM or len(shape) != ndim or 0 in shape:
        raise DataError(
            f"{path}: found {ndim} dimensions of sizes {shape[:MAX_NDIM]}; awaited 1 to {MAX_NDIM} "
            "dimensions, each with a size above zero. The file is damaged: fetch it again."
        )
    return np.dtype(KINDS[magic[2]]), shape


def _read_up_to(stream: IO[bytes] | gzip.GzipFile, n_bytes: int) -> bytearray:
    """Read at most `n_bytes`, in pieces: memory grows with what is there, not what is promised."""
    payload = bytearray()
    while len(payload) < n_bytes:
        piece = stream.read(min(CHUNK_BYTES, n_bytes - len(payload)))
        if not piece:
            break
        payload += piece
    return payload
