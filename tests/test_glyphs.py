"""Printed digits: shipped images, installed faces and damaged font files."""

from __future__ import annotations

import hashlib
import shutil
import struct
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from spikelca.datasets import DataError, glyphs_for, printed_digits
from spikelca.datasets.fonts import PREFERENCE, find_face, font_folders, read_faces
from spikelca.datasets.glyphs import SHIPPED_FONT, render

DATA = files("spikelca.datasets") / "data"


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.fixture(scope="module")
def dejavu() -> Path:
    """A font file that is always available, because matplotlib includes it."""
    return find_face(["DejaVu Sans"]).path


def read_description() -> dict[str, str]:
    lines = (DATA / "printed_digits.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines)


# ---------------------------------------------------------------------------- shipped


def test_shipped_digits_are_readonly_and_named():
    printed = printed_digits()
    assert printed.images.shape == (10, 784)
    assert printed.images.dtype == np.float32
    assert printed.images.min() == 0
    assert printed.images.max() == 1
    assert printed.font == SHIPPED_FONT == "Arimo 1.341 (shipped, OFL-1.1)"
    with pytest.raises(ValueError, match="read-only"):
        printed.images[0] = 0


def test_description_matches_the_shipped_digits():
    description = read_description()
    levels = np.load(DATA / "printed_digits.npy", allow_pickle=False)
    assert levels.shape == (10, 28, 28)
    assert levels.dtype == np.uint8
    assert hashlib.sha256(levels.tobytes()).hexdigest() == description["array-sha256"]
    assert printed_digits().font.startswith(f"{description['font']} {description['version']} ")
    assert description["licence"].startswith("OFL-1.1")


def test_shipped_digits_match_rendered_arimo():
    try:
        face = find_face(["Arimo"])
    except DataError:
        pytest.skip("Arimo is not installed (pip install fontpkg-arimo)")
    assert cosine(printed_digits().images, render(face)).min() >= 0.9


@pytest.mark.parametrize("font", [None, "DejaVu Sans"])
def test_digits_have_cap_height_and_are_centred(font):
    for image in printed_digits(font=font).images.reshape(10, 28, 28):
        rows, columns = (np.flatnonzero(image.max(axis) > 0.5) for axis in (1, 0))
        assert 19 <= np.ptp(rows) + 1 <= 21
        assert abs(rows.min() - (27 - rows.max())) <= 1
        assert abs(columns.min() - (27 - columns.max())) <= 1


def test_printed_digits_are_dissimilar():
    images = printed_digits().images
    images = images / np.linalg.norm(images, axis=1, keepdims=True)
    assert (images @ images.T - np.eye(10)).max() < 0.95


# ---------------------------------------------------------------------------- shapes


def test_other_shapes_are_resampled():
    small = printed_digits((8, 8))
    assert small.images.shape == (10, 64)
    assert small.image_shape == (8, 8)
    assert small.font == "Arimo 1.341 (shipped, OFL-1.1), resampled to 8x8"
    mean = printed_digits().images.mean(axis=1)
    np.testing.assert_allclose(small.images.mean(axis=1), mean, rtol=1e-5)


def test_half_size_averages_blocks_of_four_pixels():
    full = printed_digits().images.reshape(10, 14, 2, 14, 2)
    np.testing.assert_allclose(
        printed_digits((14, 14)).images, full.mean(axis=(2, 4)).reshape(10, -1), atol=1e-6
    )


@pytest.mark.parametrize("font", [None, "DejaVu Sans"])
@pytest.mark.parametrize("shape", [(4, 4), (16, 10), (10, 16), (56, 56)])
def test_digits_keep_their_form_in_any_shape(shape, font):
    images = printed_digits(shape, font).images.reshape(10, *shape)
    assert images.min() >= 0
    assert images.max() <= 1
    assert (images.sum(axis=(1, 2)) > 0).all()
    side = min(shape)
    cut = images[:, (shape[0] - side) // 2 :, (shape[1] - side) // 2 :][:, :side, :side]
    square = printed_digits((side, side), font).images
    assert cosine(cut.reshape(10, -1), square).min() > 0.99


@pytest.mark.parametrize("shape", [(28,), (3, 28), (28.0, 28.0), (28, 28, 1), (0, 0)])
def test_invalid_shape_raises(shape):
    with pytest.raises(ValueError, match="must be \\(height, width\\)"):
        printed_digits(shape)


# ---------------------------------------------------------------------------- faces


def test_named_face_is_used_with_its_version(dejavu):
    printed = printed_digits(font="dejavu sans")
    face = read_faces(dejavu)[0]
    assert printed.font == f"DejaVu Sans {face.version} (file {dejavu.name})"
    assert face.version != "(no version)"
    assert cosine(printed.images, printed_digits().images).max() < 0.999  # not the shipped face


def test_missing_face_raises_and_lists_installed_ones():
    with pytest.raises(DataError, match=r"got 'No Such Face'.*Installed: .*DejaVu Sans"):
        printed_digits(font="No Such Face")


def test_full_name_selects_a_bold_face():
    bold = printed_digits(font="DejaVu Sans Bold")
    assert bold.font.startswith("DejaVu Sans Bold ")
    assert bold.images.sum() > 1.2 * printed_digits(font="DejaVu Sans").images.sum()


def test_search_uses_the_first_preferred_face():
    installed = []
    for name in PREFERENCE:
        try:
            installed.append(find_face([name]))
        except DataError:
            continue
    assert printed_digits(font="search").font == str(installed[0])


def test_search_has_no_fallback(tmp_path, dejavu):
    with pytest.raises(DataError, match=r"got 'Arial' or 'Liberation.*no font at all"):
        find_face(PREFERENCE, [tmp_path])
    shutil.copy(dejavu, tmp_path / "arial.ttf")  # names of files are ignored
    with pytest.raises(DataError, match=r"got 'Arial'. Installed: DejaVu Sans\."):
        find_face(["Arial"], [tmp_path])


def test_path_selects_that_file(tmp_path, dejavu):
    copy = shutil.copy(dejavu, tmp_path / "copy.ttf")
    by_name = printed_digits(font="DejaVu Sans")
    for font in (Path(copy), str(copy)):
        printed = printed_digits(font=font)
        assert printed.font.endswith("(file copy.ttf)")
        np.testing.assert_array_equal(printed.images, by_name.images)


@pytest.mark.parametrize(
    "content", [b"", b"not a font", b"ttcf" + bytes(8), b"ttcf" + b"\xff" * 40, b"OTTO\xff\xff"]
)
def test_invalid_font_file_raises_error_with_path(tmp_path, content):
    file = tmp_path / "broken.ttf"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.ttf: cannot be read as a font"):
        printed_digits(font=file)
    with pytest.raises(DataError, match=r"gone\.ttf"):
        printed_digits(font=tmp_path / "gone.ttf")


def test_font_without_outlines_raises(tmp_path, dejavu):
    file = tmp_path / "cut.ttf"
    content = bytearray(dejavu.read_bytes())
    for table in (b"glyf", b"loca", b"head"):
        offset = content.index(table)
        content[offset : offset + 4] = b"none"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"cut\.ttf"):
        printed_digits(font=file)


def test_face_without_digits_raises():
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    with pytest.raises(DataError, match=r"DejaVu Sans Display .*Use a face"):
        render(find_face(["DejaVu Sans Display"], [folder]))


def test_damaged_fonts_raise_data_errors_only(tmp_path, dejavu):
    """Change bytes in the table directory, from which the names are found."""
    original, rng = dejavu.read_bytes(), np.random.default_rng(0)
    [whole] = read_faces(dejavu)
    n_tables, file, n_rejected = int.from_bytes(original[4:6], "big"), tmp_path / "mutant.ttf", 0
    for _ in range(60):
        content = bytearray(original)
        for offset in rng.integers(0, 12 + 16 * n_tables, size=8):
            content[offset] ^= rng.integers(1, 256)
        file.write_bytes(content)
        try:
            [found] = read_faces(file)
        except DataError:
            n_rejected += 1
        else:
            assert (found.family, found.version) == (whole.family, whole.version)
    assert 10 < n_rejected < 60
    entry = original.index(b"name", 12)
    for at in (*range(4), *range(entry, entry + 4), *range(entry + 8, entry + 11)):
        content = bytearray(original)
        content[at] ^= 0xFF
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"mutant\.ttf"):
            read_faces(file)


def test_every_face_of_a_collection_is_read(tmp_path, dejavu):
    file = tmp_path / "both.ttc"
    file.write_bytes(collection([dejavu.read_bytes(), dejavu.read_bytes()]))
    faces = read_faces(file)
    assert [(face.index, face.family) for face in faces] == [(0, "DejaVu Sans"), (1, "DejaVu Sans")]
    np.testing.assert_array_equal(render(faces[1]), render(read_faces(dejavu)[0]))


def collection(fonts: list[bytes]) -> bytes:
    """A TrueType collection of fonts, with shifted table offsets."""
    out = bytearray(b"ttcf\0\1\0\0" + len(fonts).to_bytes(4, "big") + bytes(4 * len(fonts)))
    for k, font in enumerate(fonts):
        start, shifted = len(out), bytearray(font)
        out[12 + 4 * k : 16 + 4 * k] = start.to_bytes(4, "big")
        for table in range(int.from_bytes(font[4:6], "big")):
            entry = slice(12 + 16 * table + 8, 12 + 16 * table + 12)
            shifted[entry] = (int.from_bytes(font[entry], "big") + start).to_bytes(4, "big")
        out += shifted
    return bytes(out)


def make_font(records: list[tuple[int, int, int, str]]) -> bytes:
    """Make a font with only a name table, from platform, language, name and text."""
    texts = [
        t.encode("mac_roman" if platform == 1 else "utf_16_be") for platform, _, _, t in records
    ]
    ends = np.cumsum([0, *map(len, texts)])
    names = struct.pack(">HHH", 0, len(records), 6 + 12 * len(records))
    for (platform, language, name, _), text, offset in zip(records, texts, ends, strict=False):
        names += struct.pack(">6H", platform, 1, language, name, len(text), offset)
    names += b"".join(texts)
    head = struct.pack(">4sHHHH4sIII", b"\0\1\0\0", 1, 0, 0, 0, b"name", 0, 28, len(names))
    return head + names


@pytest.mark.parametrize("turn", range(6))
def test_names_are_read_from_every_record(tmp_path, turn):
    records = [
        (3, 0x407, 1, "Eigene"), (3, 0x409, 1, "Own"), (3, 0x409, 2, "Bold"),
        (1, 0, 5, "Version 2.5"), (1, 0, 9, "Designer"), (3, 0x409, 4, "Own Bold"),
    ]  # fmt: skip
    file = tmp_path / "own.ttf"
    file.write_bytes(make_font(records[turn:] + records[:turn]))
    (face,) = read_faces(file)
    assert (face.family, face.style, face.full_name) == ("Own", "Bold", "Own Bold")
    assert face.version == "2.5"


def test_font_folders_exist_and_are_unique():
    folders = font_folders()
    assert len(set(folders)) == len(folders)
    assert all(folder.is_dir() for folder in folders)


@pytest.mark.parametrize("platform", ["win32", "darwin", "linux"])
def test_user_font_folder_of_each_platform(monkeypatch, tmp_path, platform):
    folder = {
        "win32": tmp_path / "AppData" / "Local" / "Microsoft" / "Windows" / "Fonts",
        "darwin": tmp_path / "Library" / "Fonts",
        "linux": tmp_path / ".local" / "share" / "fonts",
    }[platform]
    folder.mkdir(parents=True)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for variable in ("LOCALAPPDATA", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    assert folder in font_folders()


# ---------------------------------------------------------------------------- by label


def test_each_label_gets_its_digit():
    printed = printed_digits()
    glyphs = glyphs_for([7, 0, 7], printed)
    np.testing.assert_array_equal(glyphs, printed.images[[7, 0, 7]])
    glyphs[0] = 0  # a new, writable array
    assert printed.images[7].max() > 0
    assert glyphs_for(np.array([], dtype=int), printed).shape == (0, 784)


@pytest.mark.parametrize("labels", [[10], [-1], [1.0], [[1]], ["1"], 3])
def test_invalid_labels_raise(labels):
    with pytest.raises(ValueError, match=r"`labels` must be .* got"):
        glyphs_for(labels, printed_digits())
