"""Dask: results bit-identical to a single machine for any chunks, workers and failures."""

from __future__ import annotations

import os
import signal
import sys

import numba
import numpy as np
import pytest
from models import assert_same_circuit, make_linked, steered
from threadpoolctl import threadpool_info

from spikelca import IdleAtoms, LCACoder, LinkedLCA, OrdinalDriver, save
from spikelca.circuit import batch_statistics
from spikelca.cli import main
from spikelca.distributed import (
    DaskSamples,
    check_dask,
    connect,
    encode_lazily,
    read_lazily,
    write_zarr,
)
from spikelca.distributed import cluster as cluster_module
from spikelca.learning.checkpoint import Checkpoint, digest_array, read_checkpoint

NO_DASHBOARD = {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}
WHY = "the extra is not installed: pip install 'spikelca[dask]'"
dask = pytest.importorskip("dask", reason=WHY)
da = pytest.importorskip("dask.array", reason=WHY)
distributed = pytest.importorskip("distributed", reason=WHY)
zarr = pytest.importorskip("zarr", reason=WHY)


@pytest.fixture(scope="module")
def X():
    return np.abs(np.random.default_rng(5).normal(size=(90, 8))) / 3


@pytest.fixture(scope="module")
def y():
    return np.arange(90) % 2


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch, request):
    """Blocks so small that a batch of twenty is five of them, and tasks in this thread."""
    if not {"cluster", "passing"} & set(request.fixturenames):
        monkeypatch.setattr(batch_statistics, "BLOCK_SAMPLES", 4)
        with dask.config.set(scheduler="synchronous"):
            yield
    else:
        yield


# -------------------------------------------------------------------------------- codes


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("chunks", [(90, 8), (7, 3), ((1, 0, 80, 9), 8)])
def test_codes_equal_single_machine_for_any_chunks(X, y, dtype, chunks):
    lca = steered(observe=["left"]).fit(X, y)
    rows = (X * 3).astype(dtype)
    lazy = lca.transform(da.from_array(rows, chunks=chunks))
    here = lca.transform(rows)
    assert isinstance(lazy, da.Array)
    assert (lazy.shape, lazy.dtype, lazy._meta.dtype) == (here.shape, here.dtype, here.dtype)
    assert np.array_equal(lazy.compute(), here)


def test_lca_coder_codes_equal_single_machine(X):
    coder = LCACoder(np.abs(np.random.default_rng(0).normal(size=(5, 8))), two_sided=True)
    lazy = coder.transform(da.from_array(X, chunks=40))
    assert np.array_equal(lazy.compute(), coder.transform(X))


def test_empty_and_unknown_chunks_are_encoded(X, y):
    lca = steered().fit(X, y)
    chosen = X[:, 0] > 0.6
    lazy = da.from_array(X, chunks=(10, 8))
    codes = lca.transform(lazy[lazy[:, 0] > 0.6])
    assert np.isnan(codes.shape[0])
    assert 0 in codes.map_blocks(lambda b: np.array([[len(b)]]), dtype=int).compute()
    assert np.array_equal(codes.compute(), lca.transform(X[chosen]))


def test_circuit_is_one_key_of_the_graph(X, y):
    lca = steered().fit(X, y)
    graph = dict(lca.transform(da.from_array(X, chunks=(10, 8))).__dask_graph__())
    assert sum(str(key).startswith("circuit-") for key in graph) == 1


def test_task_and_its_blas_use_one_thread(X, y):
    circuit, seen = steered().fit(X, y).circuit_.without_drivers().observe("left"), []

    def codes(circuit, stimuli):
        seen.append(numba.get_num_threads())
        seen.extend(p["num_threads"] for p in threadpool_info() if "numpy" in p["filepath"])
        return circuit.encode(stimuli).code

    lazy = encode_lazily(circuit, {"left": da.from_array(X[:, :3], chunks=(10, 3))}, codes)
    lazy.compute(scheduler="threads", num_workers=4)
    assert set(seen) == {1}
    assert len(seen) >= 9


def test_nan_is_reported_with_its_index(X, y):
    bad = X.copy()
    bad[37, 2] = np.nan
    lazy = da.from_array(bad, chunks=(10, 8))
    with pytest.raises(ValueError, match=r"X must .*NaN at index \(37, 2\)"):
        steered().fit(X, y).transform(lazy).compute()
    lca = steered()
    with pytest.raises(ValueError, match=r"X must .*NaN at index \(37, 2\)"):
        lca.fit(lazy, y)
    assert not hasattr(lca, "circuit_")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda X: X[:, 0], r"2D array.* got shape \(90,\)"),
        (lambda X: X[:0], "not empty"),
        (lambda X: X.astype(complex), "complex128"),
        (lambda X: X[:, :5], "8 columns|expecting"),
    ],
)
def test_invalid_arrays_are_rejected_before_computing(X, y, make, message):
    with pytest.raises(ValueError, match=message):
        steered().fit(X, y).transform(make(da.from_array(X, chunks=10)))


# -------------------------------------------------------------------------------- learning


@pytest.mark.parametrize("source", ["sample", "residual"])
@pytest.mark.parametrize("chunks", [(90, 8), (7, 3), ((1, 0, 80, 9), 8)])
def test_learning_equals_single_machine_for_any_chunks(X, y, chunks, source):
    make = {"idle": IdleAtoms(source, patience=8), "threshold": 0.3}
    here = steered(**make).fit(X, y)
    there = steered(**make).fit(da.from_array(X, chunks=chunks), da.from_array(y, chunks=11))
    assert here.n_redrawn_ > 0
    assert_same_circuit(there.circuit_, here.circuit_)
    assert (there.n_steps_, there.n_redrawn_) == (here.n_steps_, here.n_redrawn_)
    again = there.partial_fit(da.from_array(X, chunks=chunks), y)
    assert_same_circuit(again.circuit_, here.partial_fit(X, y).circuit_)


def test_learning_from_chunks_of_unknown_length(X):
    lazy = da.from_array(X, chunks=(10, 8))
    there = make_linked().fit(lazy[lazy[:, 0] > 0.3])
    assert_same_circuit(there.circuit_, make_linked().fit(X[X[:, 0] > 0.3]).circuit_)


def test_chunks_are_read_once_and_released(X):
    reads = []

    def reading(block, block_info=None):
        reads.append(block_info[0]["chunk-location"][0])
        return block

    lazy = da.from_array(X, chunks=(10, 8)).map_blocks(reading, dtype=X.dtype, meta=X[:0])
    rows = DaskSamples(check_dask(lazy), {"x": 8}, keep=False)
    for first in range(0, 90, 15):
        rows.batch(np.arange(first, first + 15))
        assert len(rows._read) <= 3
    assert sorted(reads) == list(range(9))


class Stop(Exception):
    pass


@pytest.mark.parametrize("chunks_first", [True, False])
def test_checkpoint_moves_between_machine_and_cluster(monkeypatch, tmp_path, X, y, chunks_first):
    path, lazy, original = (
        tmp_path / "learning",
        da.from_array(X, chunks=(7, 8)),
        Checkpoint.write_if_due,
    )

    def limited(self, mark):
        original(self, mark)
        if mark.n_steps == 7:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "write_if_due", limited)
        with pytest.raises(Stop):
            steered().fit(lazy if chunks_first else X, y, checkpoint=path, checkpoint_every=3)
    resumed = steered().fit(X if chunks_first else lazy, y, checkpoint=path, resume=True)
    assert_same_circuit(resumed.circuit_, steered().fit(X, y).circuit_)
    with pytest.raises(ValueError, match="belongs to another training run"):
        steered().fit(lazy + 1e-9, y, checkpoint=path, resume=True)


def test_digest_on_workers_equals_single_machine(monkeypatch, X):
    monkeypatch.setattr("spikelca.learning.checkpoint.DIGEST_ROWS", 16)
    monkeypatch.setattr("spikelca.distributed.batches.DIGEST_ROWS", 16)
    rows = DaskSamples(check_dask(da.from_array(X, chunks=(7, 8))), {"a": 3, "b": 5}, keep=True)
    assert [digest_array(rows[n]) for n in rows] == [digest_array(X[:, :3]), digest_array(X[:, 3:])]


# -------------------------------------------------------------------------------- real processes


@pytest.fixture
def passing():
    """A cluster in this process, which a test may take away."""
    settings = {"n_workers": 1, "processes": False, "protocol": "tcp://", "host": "127.0.0.1"}
    with (
        distributed.LocalCluster(silence_logs=50, **NO_DASHBOARD, **settings) as found,
        distributed.Client(found),
    ):
        yield found


def test_lost_scheduler_raises_and_keeps_last_step(monkeypatch, tmp_path, X, passing):
    path, original = tmp_path / "learning", Checkpoint.write_if_due

    def leaving(self, mark):
        original(self, mark)
        if mark.n_steps == 2:
            passing.close()

    monkeypatch.setattr(Checkpoint, "write_if_due", leaving)
    lca = make_linked()
    with pytest.raises(ConnectionError, match=r"scheduler is lost.*resume=True"):
        lca.fit(da.from_array(X, chunks=(30, 8)), checkpoint=path, checkpoint_every=100)
    assert lca.n_steps_ == 2
    assert read_checkpoint(path)[0].n_steps == 2


@pytest.fixture(scope="module")
def cluster():
    settings = {"threads_per_worker": 1, "host": "127.0.0.1", **NO_DASHBOARD}
    with (
        distributed.LocalCluster(n_workers=2, silence_logs=50, **settings) as found,
        distributed.Client(found),
    ):
        yield found


def test_killed_worker_does_not_change_results(monkeypatch, cluster):
    rng = np.random.default_rng(0)
    X = np.abs(rng.normal(size=(6000, 8)))
    make = {"batch_size": 2048, "n_epochs": 1}
    here, original = make_linked(**make).fit(X), batch_statistics.BatchStatistics
    victims = list(distributed.default_client().run(os.getpid).values())

    def strike(*parts):
        if victims:
            os.kill(victims.pop(), signal.SIGKILL)
            victims.clear()
        return original(*parts)

    monkeypatch.setattr("spikelca.distributed.batches.BatchStatistics", strike)
    lazy = da.from_array(X, chunks=(1500, 8))
    there = make_linked(**make).fit(lazy)
    assert not victims
    assert_same_circuit(there.circuit_, here.circuit_)
    codes = there.transform(lazy)
    assert np.array_equal(codes.compute(), here.transform(X))


def test_as_many_local_workers_as_given(monkeypatch):
    start = distributed.LocalCluster

    def in_threads(n_workers, **options):
        return start(n_workers=n_workers, processes=False, dashboard_address=None)

    monkeypatch.setattr(distributed, "LocalCluster", in_threads)
    for count in (1, 3):
        with connect(f"local:{count}"):
            assert len(distributed.default_client().ncores()) == count
    for words in ("local:", "local:-1", "local:1.5", "local:two"):
        with pytest.raises(ValueError, match="local:N"):
            connect(words).__enter__()


def test_scheduler_without_worker_raises(monkeypatch):
    monkeypatch.setattr("spikelca.distributed.cluster.TIMEOUT", 1)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, **NO_DASHBOARD) as empty,
        pytest.raises(ConnectionError, match="has no worker"),
        connect(empty.scheduler_address),
    ):
        pytest.fail("entered")


def test_unreachable_scheduler_raises(monkeypatch):
    monkeypatch.setattr("spikelca.distributed.cluster.TIMEOUT", 0.2)
    with pytest.raises(
        ConnectionError, match=r"tcp://127.0.0.1:1 does not respond.*dask scheduler"
    ):
        connect("tcp://127.0.0.1:1").__enter__()
    with pytest.raises(ValueError, match="local:N with N worker processes"):
        connect("local:0").__enter__()


# -------------------------------------------------------------------------------- files, commands


@pytest.fixture
def images(tmp_path, X):
    """The same images as Zarr, as a stack of files, and as one file."""
    bytes_ = (X * 100).astype(np.uint8).reshape(90, 2, 4)
    zarr.create_array(tmp_path / "x.zarr", data=bytes_, chunks=(13, 1, 4))
    (tmp_path / "stack").mkdir()
    for i, rows in enumerate(np.split(bytes_, [3, 10, 11, 50, 51, 52, 60, 70, 80, 85])):
        np.save(tmp_path / "stack" / f"{i}.npy", rows)
    np.save(tmp_path / "x.npy", bytes_)
    return tmp_path


def test_zarr_and_file_stacks_give_same_samples(images):
    expected = np.load(images / "x.npy")
    for name in ("x.zarr", "stack", "x.npy"):
        assert np.array_equal(read_lazily(images / name).compute(), expected)


def test_zarr_array_with_pickles_is_rejected(tmp_path, X):
    zarr.create_array(tmp_path / "x", data=X, chunks=(30, 8), zarr_format=2, compressors=None)
    text = (tmp_path / "x" / ".zarray").read_text()
    evil = text.replace('"compressor": null', '"compressor": {"id": "pickle", "protocol": 5}')
    assert evil != text
    (tmp_path / "x" / ".zarray").write_text(evil)
    with pytest.raises(ValueError, match="pickle"):
        read_lazily(tmp_path / "x")


def test_commands_give_same_results_for_all_files(images):
    words = ["--neurons", "6", "--epochs", "2", "--batch-size", "20", "--quiet", "-o"]
    names = ("x.npy", "x.zarr", "stack")
    for name in names:
        assert main(["fit", str(images / name), *words, str(images / f"{name}.model")]) == 0
    models = [(images / f"{name}.model").read_bytes() for name in names]
    assert models[0] == models[1] == models[2]
    encode = ["encode", str(images / "x.npy.model"), "--quiet"]
    assert main([*encode, str(images / "x.npy"), "-o", str(images / "codes.npz")]) == 0
    for _ in range(2):  # the second time it replaces the first
        assert main([*encode, str(images / "x.zarr"), "-o", str(images / "codes.zarr")]) == 0
    here, there = np.load(images / "codes.npz"), zarr.open(images / "codes.zarr", mode="r")
    assert sorted(there) == sorted(here.files)
    for name in here.files:
        assert here[name].dtype == there[name].dtype
        assert np.array_equal(here[name], there[name][:])
    assert not list(images.glob("*spikelca-*"))


@pytest.mark.parametrize("quiet", [False, True])
def test_quiet_command_shows_no_progress_on_a_terminal(images, capsys, monkeypatch, quiet):
    save(LinkedLCA(6, batch_size=20, random_state=0).fit(np.eye(8)), images / "m")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(cluster_module, "_has_client", lambda: False)  # of another test
    words = ["encode", str(images / "m"), str(images / "x.zarr"), "-o", str(images / "a.zarr")]
    assert main([*words, *["--quiet"] * quiet]) == 0
    out, err = capsys.readouterr()
    assert ("100% Completed" in err) != quiet
    assert ("90 codes of 6 neurons" in out) != quiet


def test_command_prints_the_mean_number_of_active_neurons(images, capsys):
    save(LinkedLCA(6, batch_size=20, random_state=0).fit(np.eye(8)), images / "m")
    words = ["encode", str(images / "m"), str(images / "x.zarr"), "-o", str(images / "a.npz")]
    assert main(words) == 0
    with np.load(images / "a.npz") as found:
        active = np.count_nonzero(found["code"], axis=1).mean()
    assert f"{active:.1f} neurons active on average" in capsys.readouterr().out


@pytest.mark.parametrize("progress", [False, True])
def test_progress_of_a_cluster_is_shown_on_a_terminal(X, monkeypatch, progress):
    shown = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(cluster_module, "_has_client", lambda: True)
    monkeypatch.setattr(distributed, "progress", lambda rows, notebook: shown.append(rows))
    [computed] = cluster_module.compute([da.from_array(X, chunks=40)], progress)
    np.testing.assert_array_equal(computed, X)
    assert len(shown) == progress


def test_command_runs_on_workers_or_reports_missing_scheduler(images, capsys):
    save(LinkedLCA(6, batch_size=20, random_state=0).fit(np.eye(8)), images / "m")
    words = ["encode", str(images / "m"), str(images / "stack"), "-o", str(images / "a.npz")]
    assert main([*words, "--scheduler", "nowhere"]) == 1
    said = capsys.readouterr().err
    assert "The Dask scheduler nowhere does not respond" in said
    assert not (images / "a.npz").exists()


def test_store_replaces_only_another_store(images, X):
    with pytest.raises(FileExistsError, match="not a Zarr store"):
        write_zarr(images / "stack", {"x": da.from_array(X, chunks=30)})

    def broken(block):
        raise OSError("No space left on device")

    before = zarr.open(images / "x.zarr", mode="r")[:]
    lazy = da.from_array(X, chunks=(30, 8)).map_blocks(broken, meta=X[:0])
    with pytest.raises(OSError, match="No space"):
        write_zarr(images / "x.zarr", {"x": lazy})
    assert np.array_equal(zarr.open(images / "x.zarr", mode="r")[:], before)
    assert not list(images.glob(".*"))


@pytest.mark.parametrize("missing", ["dask", "distributed", "zarr"])
def test_missing_extra_reports_install_command(monkeypatch, images, capsys, missing):
    save(LinkedLCA(6, batch_size=20, random_state=0).fit(np.eye(8)), images / "m")
    for name in [n for n in sys.modules if n.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    words = ["encode", str(images / "m"), str(images / "x.zarr"), "-o", str(images / "a.zarr")]
    assert main([*words, "--scheduler", "local:1"] if missing == "distributed" else words) == 1
    said = capsys.readouterr().err.strip()
    assert said.endswith("pip install 'spikelca[dask]'")
    assert len(said.splitlines()) == 1


def test_ordinal_driver_uses_labels_on_workers(X):
    y = np.array(["odd", "even"])[np.arange(90) % 2]
    make = {"driver": OrdinalDriver(2, mode="clamp")}
    there = steered(**make).fit(da.from_array(X, chunks=(20, 8)), y)
    assert_same_circuit(there.circuit_, steered(**make).fit(X, y).circuit_)
    assert list(there.classes_) == ["even", "odd"]
