"""Files of users: text tables, labels, values that are not finite, and outputs that are inputs."""

from __future__ import annotations

import os

import numpy as np
import pytest

from spikelca import LinkedLCA, load, save
from spikelca.cli import files, main
from spikelca.cli.files import Rows, normalise_rows, open_rows, read_labels, read_rows
from spikelca.datasets import DataError, csv_table, read_csv

rng = np.random.default_rng(0)
X = rng.random((40, 6)) + 0.1
WORDS = ["--neurons", "5", "--epochs", "1", "--batch-size", "20", "--quiet"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with the same samples in several formats."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    np.savez("x.npz", X, other=X)
    np.savetxt("x.csv", X, delimiter=",")
    return tmp_path


def fit_model(path="m.spikelca", **params):
    """Save a model of 6 inputs."""
    save(LinkedLCA(5, n_epochs=1, random_state=0, **params).fit(normalise_rows(X)), path)
    return path


def read_error(words, capsys):
    """Run a command that fails, and return its error message of one line."""
    capsys.readouterr()
    assert main([*map(str, words)]) == 1
    message = capsys.readouterr().err.strip()
    assert len(message.splitlines()) == 1
    return message


# ------------------------------------------------------------------------------------ text tables

TWO_ROWS = {
    "numbers": b"1.0,2\n3,4\n",
    "capital exponents": b"1.0E+00,2.0E+00\n3E0,4E0\n",
    "small exponents": b"1e0,2e0\n3e0,4e0\n",
    "a header": b"a,b\n1,2\n3,4\n",
    "a header of names like exponents": b"e,ee\n1,2\n3,4\n",
    "a header of names like numbers": b"1_0,1_1\n1,2\n3,4\n",
    "a header in Latin-1": "größe,b\n1,2\n3,4\n".encode("latin-1"),
    "a header with an empty name": b"a,\n1,2\n3,4\n",
    "a byte order mark": b"\xef\xbb\xbf1,2\n3,4\n",
    "UTF-16": "1,2\n3,4\n".encode("utf-16"),
    "quotes": b'"a","b, c"\r\n"1","2"\r\n"3","4"\r\n',
    "a name of two lines": b'"a\nb",c\n1,2\n3,4\n',
    "Windows line ends": b"1,2\r\n3,4\r\n",
    "old line ends": b"1,2\r3,4\r",
    "blank lines": b"\n1,2\n\n3,4\n\n",
    "tabs": b"a\tb\n1\t2\n3\t4\n",
    "semicolons": b"1;2\n3;4\n",
    "decimal commas": b"1,0;2,0\n3,0;4,0\n",
    "spaces": b" 1 , 2\n3,4 \n",
    "a comment": b"# made by hand\n1,2\n3,4\n",
    "no line end": b"1,2\n3,4",
}


@pytest.mark.parametrize("case", TWO_ROWS)
def test_usual_text_tables_are_read(tmp_path, case):
    path = tmp_path / "x.csv"
    path.write_bytes(TWO_ROWS[case])
    np.testing.assert_array_equal(read_csv(path), [[1, 2], [3, 4]])
    np.testing.assert_array_equal(read_rows(str(path), scale=False), [[1, 2], [3, 4]])


INVALID = {
    "NaN": (b"a,b\n1,2\nnan,4\n", r"line 3, column 1: .*got NaN"),
    "infinity": (b"1,2\n3,-inf\n", r"line 2, column 2: .*got infinity"),
    "a number too large": (b"1,2\n3,1e999\n", r"line 2, column 2: .*got infinity"),
    "a word": (b"1,2\n\n3,four\n", r"line 3, column 2: .*got 'four'"),
    "an empty cell": (b"1,2\n3,\n", r"line 2, column 2: .*empty cell"),
    "an underscore": (b"1,2\n3,1_000\n", r"line 2, column 2: .*'1_000'"),
    "thousands": (b"1;2\n3;1.000,5\n", r"line 2, column 2: .*'1.000,5'"),
    "a short row": (b"1,2\n3\n", r"line 2: must have 2 columns .*got 1"),
    "a long row": (b'"a\nb",c\n1,2\n3,4,5\n', r"line 4: must have 2 columns .*got 3"),
    "nothing": (b"\n\n", "an empty file"),
    "a header only": (b"a,b\n", "a header or an index only"),
    "a count": (b"0,1\n5,6\n", r"line 1: .*'0,1'.*--header.*--no-header"),
    "a count of one": (b"0\n5\n", r"line 1: .*--header.*--no-header"),
    "an index": (b",a,b\n0,5,6\n", r"line 1: .*--index"),
    "an index and a count": (b",0,1\n0,5,6\n", r"line 1: .*--index"),
    "numbers and words": (b"5.1,3.5,iris\n4,3,iris\n", r"line 1: .*--header.*--no-header"),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_text_table_names_line_and_column(tmp_path, case):
    content, message = INVALID[case]
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_csv(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (b"0,1\n1,2\n3,4\n", {"header": True}),
        (b"1,2\n3,4\n", {"header": False}),
        (b",a,b\n0,1,2\n1,3,4\n", {"index": True}),
        (b",0,1\n0,1,2\n1,3,4\n", {"index": True}),
        (b"a,1,2\nb,3,4\n", {"header": False, "index": True}),
    ],
)
def test_header_and_index_are_given(tmp_path, content, options):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    np.testing.assert_array_equal(read_csv(path, **options), [[1, 2], [3, 4]])


def test_tables_written_by_pandas_are_recognised(tmp_path):
    pandas = pytest.importorskip("pandas")
    path, named = tmp_path / "x.csv", pandas.DataFrame(X, columns=list("abcdef"))
    for frame, index, expected in [
        (named, False, {}), (named, True, {"index": True}),
        (pandas.DataFrame(X), False, {"header": True}),
        (pandas.DataFrame(X), True, {"index": True}),
    ]:  # fmt: skip
        frame.to_csv(path, index=index)
        if expected:
            with pytest.raises(DataError, match="--header"):
                read_csv(path)
        np.testing.assert_array_equal(read_csv(path, **expected), X)


def test_options_of_text_files_reach_the_reader(folder, capsys):
    (folder / "h.csv").write_text("0,1\n5,6\n")
    shapes = []
    for option in ("--header", "--no-header"):
        assert main(["info", "h.csv", option]) == 0
        shapes += [line for line in capsys.readouterr().out.splitlines() if "shape" in line]
    assert [shape.split("  ")[-1] for shape in shapes] == ["(1, 2)", "(2, 2)"]
    for words in (
        ["fit", "x.npy", "--index", "-o", "m"], ["info", "x.npy", "--header"],
        ["encode", fit_model(), "x.npy", "--no-header", "-o", "c.npz"],
    ):  # fmt: skip
        assert "requires a text file" in read_error(words, capsys)


# ----------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (b"dog\r\ncat\r\n", ["dog", "cat"]),
        ("hündin\nkater\n".encode("latin-1"), ["hündin", "kater"]),
        (b"0\n1\n", [0, 1]),
        (b"class\n1\n0\n", [1, 0]),
        (b"0.5\n1.5\n", [0.5, 1.5]),
    ],
)
def test_labels_of_text_files_are_read(folder, content, labels):
    (folder / "y.csv").write_bytes(content)
    found = read_labels("y.csv", 2)
    assert found.tolist() == labels


def test_labels_have_no_line_ends(folder):
    np.save("y.npy", np.array(["dog\r", "cat\r"]))
    assert read_labels("y.npy", 2).tolist() == ["dog", "cat"]


def test_words_are_labels_of_every_format(folder):
    y = np.array(["dog", "cat"])[np.arange(40) % 2]
    np.save("y.npy", y)
    np.savez("y.npz", y)
    (folder / "y.csv").write_text("\n".join(y))
    for name in ("y.npy", "y.npz", "y.csv"):
        words = ["fit", "x.npy", "--labels", name, "--ordinal", "-o", "m", *WORDS]
        assert main(words) == 0
        assert load("m").classes_.tolist() == ["cat", "dog"]


def test_invalid_labels_are_named(folder, capsys):
    np.save("y.npy", np.array(["a", 1, None] * 20, dtype=object)[:40])
    (folder / "few.csv").write_text("species\na\nb\n")
    (folder / "two.csv").write_text("a,b\nc,d\n")
    (folder / "nan.csv").write_text("1\nnan\n")
    for name, message in [
        ("y.npy", "numbers or strings, got"), ("few.csv", "40 samples.*--header"),
        ("two.csv", "line 1: must have one label"), ("nan.csv", "NaN"),
    ]:  # fmt: skip
        error = read_error(["fit", "x.npy", "--labels", name, "--ordinal", "-o", "m"], capsys)
        assert name in error
        with pytest.raises(ValueError, match=message):
            read_labels(name, 40)


# ------------------------------------------------------------------------- values and their scale


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "infinity")])
@pytest.mark.parametrize("scale", [[], ["--no-scale"]], ids=["scaled", "as it is"])
def test_rows_that_are_not_finite_are_rejected(folder, capsys, value, name, scale):
    changed = X.copy()
    changed[3, 1] = value
    np.save("bad.npy", changed)
    np.savez("bad.npz", changed.astype(np.float32))
    np.savetxt("bad.csv", changed, delimiter=",")
    model = fit_model()
    before = set(folder.iterdir())
    for source in ("bad.npy", "bad.npz", "bad.csv"):
        place = "line 4, column 2" if source.endswith("csv") else "index (3, 1)"
        for words in (
            ["fit", source, "-o", "new", *WORDS, *scale],
            ["encode", model, source, "-o", "c.npz", *scale],
            ["simulate", model, source, "--image", "3", "-o", "r.npz", *scale],
        ):
            if words[0] == "simulate" and place.startswith("index"):
                place = "index"  # one row is read
            message = read_error(words, capsys)
            assert source in message
            assert name in message
            assert place in message
    assert set(folder.iterdir()) == before


def test_index_of_an_invalid_value_counts_all_rows(folder, capsys, monkeypatch):
    monkeypatch.setattr("spikelca.cli.encode.BATCH_ROWS", 10)
    monkeypatch.setattr(files, "IN_MEMORY_BYTES", 0)
    changed = X.copy()
    changed[33, 1] = np.nan
    np.save("bad.npy", changed)
    for words in (["encode", fit_model(), "bad.npy", "-o", "c.npz"], ["fit", "bad.npy", "-o", "n"]):
        assert "bad.npy must contain finite numbers" in (message := read_error(words, capsys))
        assert "NaN at index (33, 1)" in message


def test_store_with_nan_is_rejected(folder, capsys):
    zarr = pytest.importorskip("zarr")
    pytest.importorskip("dask")
    changed = X.copy()
    changed[3, 1] = np.nan
    zarr.create_array("bad.zarr", data=changed, chunks=(2, 6))
    for words in (
        ["encode", fit_model(), "bad.zarr", "-o", "c.npz"], ["fit", "bad.zarr", "-o", "n"],
    ):  # fmt: skip
        message = read_error(words, capsys)
        assert "NaN at index (3, 1)" in message
        assert "bad.zarr" in message


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_smallest_rows_are_scaled_to_unit_norm(dtype):
    rows = X.astype(dtype)
    tiny = np.finfo(dtype).tiny
    for scale in (tiny * 1e3, np.sqrt(tiny), 1.0):
        scaled = normalise_rows(rows * dtype(scale))
        np.testing.assert_allclose(scaled, normalise_rows(rows), rtol=1e-3)
    assert not normalise_rows(np.zeros((1, 3), dtype)).any()


def test_large_files_are_read_by_rows(folder, monkeypatch):
    expected = {source: read_rows(source) for source in ("x.npy", "x.csv")}
    monkeypatch.setattr(files, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(csv_table, "BLOCK_VALUES", 60)
    for source, rows in expected.items():
        opened = open_rows(source)
        assert not opened.is_in_memory
        assert np.array_equal(opened[:], rows)
        assert np.array_equal(opened[5:9], rows[5:9])
        assert np.array_equal(opened[np.array([7, 2])], rows[[7, 2]])


@pytest.mark.parametrize("source", ["x.npy", "x.csv"])
def test_models_do_not_depend_on_the_way_of_reading(folder, monkeypatch, source):
    words = ["fit", f"a={source}", "b=x.npz:other", "--observe", "a", *WORDS]
    codes = []
    for limit in (files.IN_MEMORY_BYTES, 0):
        monkeypatch.setattr(files, "IN_MEMORY_BYTES", limit)
        assert main([*words, "-o", f"{limit}.m"]) == 0
        assert main(["encode", f"{limit}.m", source, "-o", f"{limit}.npy", "--quiet"]) == 0
        codes.append(np.load(f"{limit}.npy"))
    assert np.array_equal(*codes)
    assert codes[0].any()


def test_files_without_rows_are_rejected(folder, capsys):
    np.save("none.npy", X[:0])
    for words in (
        ["fit", "none.npy", "-o", "m"],
        ["encode", fit_model(), "none.npy", "-o", "c.npz"],
    ):
        assert "at least one row" in read_error(words, capsys)
    with pytest.raises(ValueError, match="at least one row"):
        Rows([("x", X[:0])], scale=True)


def test_scaling_is_kept_in_the_model(folder, capsys):
    for option, scaling in (([], "unit norm"), (["--no-scale"], "none")):
        assert main(["fit", "x.npy", "-o", "m", *WORDS, *option]) == 0
        assert main(["info", "m"]) == 0
        assert f"row_scaling  {scaling}" in capsys.readouterr().out
        model = load("m")
        rows = normalise_rows(X) if scaling == "unit norm" else X
        assert main(["encode", "m", "x.npy", "-o", "c.npy", "--quiet"]) == 0
        np.testing.assert_allclose(np.load("c.npy"), model.transform(rows), atol=1e-9)
        words = ["--neuron", "rate", "--duration", "1", "-o", "r.npz", "--quiet"]
        assert main(["simulate", "m", "x.npy", "--image", "2", *words]) == 0
        with np.load("r.npz") as run:
            np.testing.assert_allclose(run["code"], model.transform(rows)[[2]], atol=1e-4)
        save(model.partial_fit(rows), "again")
        assert load("again").row_scaling_ == scaling
        assert not hasattr(model.fit(rows), "row_scaling_")


def test_digits_are_not_scaled_with_no_scale(folder):
    words = ["fit", "digits", "--neurons", "20", "--epochs", "1", "--quiet", "-o"]
    assert main([*words, "a"]) == 0
    assert main([*words, "b", "--no-scale"]) == 0
    assert not np.array_equal(load("a").components_, load("b").components_)


# ------------------------------------------------------------------------ outputs that are inputs

OVERWRITING = {
    "data of fit": ["fit", "x.npy", "-o", "x.npy"],
    "data of fit with a name": ["fit", "a=x.npy", "b=x.npz:other", "-o", "x.npz"],
    "labels": ["fit", "x.npy", "--labels", "y.csv", "--ordinal", "-o", "y.csv"],
    "checkpoint and model": ["fit", "x.npy", "--checkpoint", "new", "-o", "new"],
    "checkpoint and data": ["fit", "x.npy", "--checkpoint", "x.npy", "-o", "new"],
    "data of encode": ["encode", "m.spikelca", "x.csv", "-o", "x.csv"],
    "model of encode": ["encode", "m.npz", "x.csv", "-o", "m.npz"],
    "another path": ["encode", "m.spikelca", "x.csv", "-o", "../{folder}/x.csv"],
    "a symbolic link": ["encode", "m.spikelca", "x.csv", "-o", "link.csv"],
    "a hard link": ["encode", "m.spikelca", "x.csv", "-o", "hard.csv"],
    "data of simulate": ["simulate", "m.spikelca", "x.npz:other", "-o", "x.npz"],
    "figure of simulate": ["simulate", "m.png", "x.npy", "--plot", "m.png"],
    "a store": ["encode", "m.spikelca", "x.zarr", "-o", "x.zarr"],
    "a store with the data": ["encode", "m.spikelca", "x.zarr/code", "-o", "x.zarr"],
    "results of bench": ["bench", "--data", "x.json", "--json", "x.json"],
    "folder of reproduce": ["reproduce", "--data", "x.zarr", "--out", "./x.zarr"],
}


@pytest.mark.parametrize("case", OVERWRITING)
def test_output_must_not_be_an_input(folder, capsys, case):
    for name in ("m.spikelca", "m.npz", "m.png"):
        fit_model(name)
    (folder / "y.csv").write_text("a\nb\n" * 20)
    (folder / "x.json").write_text("{}")
    (folder / "x.zarr" / "code").mkdir(parents=True)
    (folder / "link.csv").symlink_to("x.csv")
    os.link("x.csv", "hard.csv")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    words = [word.format(folder=folder.name) for word in OVERWRITING[case]]
    assert "must not be an input" in read_error(words, capsys)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_fit_replaces_models_only(folder, capsys):
    (folder / "notes").write_text("by hand")
    (folder / "empty").touch()
    assert "must be a new file or a model" in read_error(["fit", "x.npy", "-o", "notes"], capsys)
    assert "must be a new file or a model" in read_error(
        ["fit", "x.npz:other", "-o", "x.csv"], capsys
    )
    assert (folder / "notes").read_text() == "by hand"
    for name in (fit_model(), "empty"):
        assert main(["fit", "x.npy", "-o", name, *WORDS]) == 0
        assert load(name).n_components == 5
