"""Reliability: kills, full disks and malicious files, each with its counts.

``pytest -m reliability`` runs small counts, with ``--full`` the larger ones.
"""

from __future__ import annotations

import ast
import contextlib
import errno
import gzip
import os
import random
import signal
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from counting import count_calls
from hostile import HOSTILE, repacked, zip_tricks
from models import assert_same_circuit, atoms, make_circuit, steered

import spikelca
from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold, load, save
from spikelca.datasets import DataError, idx, load_mnist_folder, read_idx, read_npy, read_npz
from spikelca.learning.checkpoint import read_checkpoint
from spikelca.modelfile import write_archive
from spikelca.persistence import ModelFileError
from spikelca.utils import atomic_write as atomic

pytestmark = pytest.mark.reliability

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def start_child(function):
    """Call a function in a child process, and return the process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        function()
        os._exit(0)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)


def kill(pid):
    """Kill a child process, and return whether it was still running."""
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


# ------------------------------------------------------------------ kills


@needs_fork
def test_kill_while_saving_leaves_old_or_new_file(tmp_path, full, figure):
    path, rng, n_kills = tmp_path / "model", random.Random(0), 200 if full else 60
    one, two = (
        Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", atoms(200, 300, seed=seed))])
        for seed in (1, 2)
    )
    save(one, path)

    def save_forever():
        while True:
            save(two, path)
            save(one, path)

    counts, n_temporaries, n_max = {0: 0, 1: 0}, 0, 0
    for _ in range(n_kills):
        pid = start_child(save_forever)
        time.sleep(rng.uniform(0.002, 0.03))
        assert kill(pid)
        loaded = load(path).dictionaries[0]
        is_same = [loaded == c.dictionaries[0] for c in (one, two)]
        assert any(is_same)
        counts[is_same.index(True)] += 1
        n_files = len(list(tmp_path.iterdir())) - 1
        n_temporaries, n_max = n_temporaries + n_files, max(n_max, n_files)
    save(one, path)
    assert os.listdir(tmp_path) == ["model"]
    assert n_max <= 2  # the temporary file, and the second name of the old file
    figure(
        f"{n_kills} kills: 0 unreadable, {counts[0]} + {counts[1]} complete; {n_temporaries} "
        f"temporaries remaining, at most {n_max} at a time, 0 after the next save"
    )


@needs_fork
def test_killed_training_resumes_bit_identically(tmp_path, full, figure):
    rng, n_kills = random.Random(1), 50 if full else 5
    data = np.random.default_rng(5)
    X, y = np.abs(data.normal(size=(1200, 8))) / 3, np.arange(1200) % 2
    steered(n_epochs=1).fit(X, y)  # compiles the kernels before the time is measured
    start = time.perf_counter()
    uninterrupted = steered(n_epochs=4).fit(X, y)
    seconds = time.perf_counter() - start
    path, n_killed, n_runs = tmp_path / "training", 0, 0

    def learn():
        steered(n_epochs=4).fit(X, y, checkpoint=path, checkpoint_every=7, resume=True)

    while n_killed < n_kills:
        path.unlink(missing_ok=True)
        pid = start_child(learn)
        time.sleep(rng.uniform(0.0, seconds))
        n_killed += kill(pid)
        pid = start_child(learn)
        time.sleep(rng.uniform(0.0, seconds))
        n_killed += kill(pid)
        learn()
        n_runs += 1
        state, _, _ = read_checkpoint(path)
        assert_same_circuit(state.circuit, uninterrupted.circuit_)
        assert state.rng == uninterrupted._rng.bit_generator.state
        counts = (uninterrupted.n_steps_, uninterrupted.n_redrawn_)
        assert (state.n_steps, state.n_redrawn) == counts
    assert os.listdir(tmp_path) == ["training"]
    figure(
        f"{n_killed} kills in {n_runs} training runs of {uninterrupted.n_steps_} batches: all "
        f"bit-identical to the uninterrupted one; {uninterrupted.n_redrawn_} idle atoms "
        "re-initialised, fading driver"
    )


# ------------------------------------------------------------------ disks


class FaultyOs:
    """The module ``os`` with one failing call, given by its index among the counted calls."""

    # Not unlink: the next writer removes files that a writer failed to remove.
    COUNTED = ("stat", "listdir", "open", "fdopen", "fchmod", "fsync", "link", "replace")

    def __init__(self, fail_at=None, code=0):
        self.fail_at, self.code, self.calls = fail_at, code, []

    def __getattr__(self, name):
        value = getattr(os, name)
        if name == "fdopen":
            return lambda *a: FaultyFile(self, self.count_calls("fdopen", value)(*a))
        return self.count_calls(name, value) if name in self.COUNTED else value

    def count_calls(self, name, function):
        def wrapper(*args, **kwargs):
            self.calls.append(name)
            if len(self.calls) - 1 == self.fail_at:
                raise OSError(self.code, os.strerror(self.code))
            return function(*args, **kwargs)

        return wrapper


class FaultyFile:
    """A file whose writes are counted as well."""

    def __init__(self, system, file):
        self._system, self._file = system, file

    def __getattr__(self, name):
        value = getattr(self._file, name)
        return self._system.count_calls(name, value) if name in ("write", "flush") else value

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


def _write_arrays(path):
    with atomic.write_atomic(path) as file:
        np.savez(file, x=np.arange(5.0))


def _write_figure(path):
    from matplotlib.figure import Figure

    with atomic.write_atomic(path) as file:
        Figure(figsize=(1, 1)).savefig(file, format="png")


WRITERS = {
    "a model": lambda path: save(make_circuit(), path),
    "an archive": lambda path: write_archive(path, None, {"x": np.arange(5.0)}),
    "results": lambda path: atomic.write_text(path, "{}\n"),
    "arrays": _write_arrays,
    "a figure": _write_figure,
}
CODES = (errno.ENOSPC, errno.EROFS, errno.EIO, errno.EACCES)


@pytest.mark.parametrize("before", [b"old", None], ids=["replaced", "new"])
@pytest.mark.parametrize("name", WRITERS)
def test_failed_call_raises_and_keeps_old_file(tmp_path, monkeypatch, name, before, figure):
    path, write = tmp_path / "file", WRITERS[name]

    def read_content():
        return path.read_bytes() if path.exists() else None

    def run(system):
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)
        monkeypatch.setattr(atomic, "os", system)
        write(path)

    counter = FaultyOs()
    run(counter)
    assert read_content() != before
    for index, call in enumerate(counter.calls):
        for code in CODES:
            with pytest.raises(OSError, match=os.strerror(code)):
                run(FaultyOs(index, code))
            assert read_content() == before, call
            assert os.listdir(tmp_path) == ([] if before is None else ["file"])
    n, n_after = len(counter.calls), len(counter.calls) - 1 - counter.calls.index("replace")
    figure(
        f"{n * len(CODES)} errors at {n} calls, {n_after} of them after the rename: 100 % raised, "
        + ("no file created" if before is None else "old file unchanged")
    )


class LinklessOs(FaultyOs):
    """A file system without hard links, and one failing call."""

    def link(self, *_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_late_error_without_hard_links_leaves_new_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    counter = LinklessOs()
    monkeypatch.setattr(atomic, "os", counter)
    atomic.write_text(path, "new")
    for index in range(len(counter.calls)):
        path.write_bytes(b"old")
        monkeypatch.setattr(atomic, "os", LinklessOs(index, errno.EIO))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            atomic.write_text(path, "new")
        is_renamed = index > counter.calls.index("replace")
        assert path.read_text() == ("new" if is_renamed else "old")
        assert os.listdir(tmp_path) == ["file"]


def test_next_writer_removes_remaining_links(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o444)

    class UndeletableOs(FaultyOs):
        def unlink(self, *_):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(atomic, "os", UndeletableOs())
    atomic.write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "new"
    assert len(os.listdir(tmp_path)) == 2
    atomic.write_text(path, "newer")
    assert os.listdir(tmp_path) == ["file"]


@needs_fork
def test_file_size_limit_keeps_old_file(tmp_path, figure):
    import resource

    path = tmp_path / "model"
    save(make_circuit(), path)
    before = path.read_bytes()

    def exceed_limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        with pytest.raises(OSError, match="File too large"):
            save(LARGE, path)

    _, status = os.waitpid(start_child(exceed_limit), 0)
    assert status == 0
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]
    figure("EFBIG of the system: raised, old file unchanged")


LARGE = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", atoms(200, 300))])


def test_every_file_is_written_atomically():
    writers = {"write_text", "write_bytes", "savetxt", "save", "savez", "savez_compressed"}
    calls = []
    for path in Path(spikelca.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        in_atomic_block = {
            id(node)
            for block in ast.walk(tree)
            if isinstance(block, ast.With)
            and any("write_atomic" in ast.unparse(item.context_expr) for item in block.items)
            for node in ast.walk(block)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or id(node) in in_atomic_block:
                continue
            text = ast.unparse(node)
            method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            opens = method == "open" and any(mode in text for mode in ("'w", "'a", "'x", "'r+"))
            plain = text.startswith("open(") and any(m in text for m in ("'w", "'a", "'x", "'r+"))
            if method in writers or method == "savefig" or opens or plain:
                calls.append(f"{path.name}:{node.lineno} {text[:60]}")
    # A benchmark writes a large temporary file of random rows, which it reads as a memory map.
    unexpected = [line for line in calls if not line.startswith("scaling.py")]
    assert not unexpected


# ------------------------------------------------------------------ malicious files


MAX_RATIO = 2
"""Maximum number of calls to read a mutant, relative to the original file."""

AUDITED = ("exec", "compile", "pickle.find_class", "os.system", "subprocess.Popen", "os.exec")
_events: list[str] | None = None


def _record_event(event, arguments):
    if _events is not None and event in AUDITED:
        _events.append(event)


class AuditedEvents:
    """Record whether code is compiled or executed, pickles are loaded or programs started."""

    installed = False

    def __enter__(self):
        global _events
        if not AuditedEvents.installed:
            sys.addaudithook(_record_event)
            AuditedEvents.installed = True
        _events = []
        return _events

    def __exit__(self, *_):
        global _events
        _events = None


def mutate(data, rng):
    """Apply a few random changes to bytes."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        kind, start = rng.randrange(7), rng.randrange(len(data))
        length = rng.randrange(1, 40)
        if kind == 0:
            data[start] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[start] = rng.randrange(256)
        elif kind == 2:
            del data[start : start + length]
        elif kind == 3:
            data[start:start] = rng.randbytes(length)
        elif kind == 4:
            source = rng.randrange(len(data))
            data[start : start + length] = data[source : source + length]
        elif kind == 5:
            del data[max(start, 1) :]
        else:
            data += rng.randbytes(length)
        data = data or bytearray(b"\0")
    return bytes(data)


def mutate_json(value, rng):
    """Apply one random change to a JSON value."""
    candidates = [None, True, -1, 0, 1e308, 10**40, "", "..", "__class__", [], {}, [[]], "float64"]
    if rng.random() < 0.3 or not isinstance(value, (dict, list)) or not value:
        return rng.choice([*candidates, -value if isinstance(value, (int, float)) else "x"])
    key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    changed = value.copy()
    if rng.random() < 0.15:
        del changed[key]
    elif rng.random() < 0.1 and isinstance(value, dict):
        changed["extra"] = changed[key]
    else:
        changed[key] = mutate_json(value[key], rng)
    return changed


def test_mutated_model_files_are_rejected(tmp_path, full, figure):
    path, rng, n = tmp_path / "model", random.Random(2), 10_000 if full else 600
    save(make_circuit(), path)
    original, n_equal, most = path.read_bytes(), 0, 0

    def read():
        load(path)

    def reject():
        with pytest.raises(ModelFileError):
            load(path)

    read()
    reference = count_calls(read)
    with AuditedEvents() as events:
        for _ in range(n):
            data = mutate(original, rng)
            path.write_bytes(data)
            n_equal += data == original
            most = max(most, count_calls(read if data == original else reject))
        assert not events
    assert most < MAX_RATIO * reference
    figure(
        f"{n} mutants ({n_equal} of them equal to the original): 1 exception type, 0 altered files "
        f"accepted, 0 code executed, at most {most} calls, {reference} for the original"
    )


def test_mutated_manifests_alter_no_array(tmp_path, full, figure):
    path, rng, n = tmp_path / "model", random.Random(3), 10_000 if full else 600
    circuit = make_circuit()
    save(circuit, path)
    original = path.read_bytes()
    expected = {d.atoms.tobytes() for d in circuit.dictionaries}
    n_accepted, most, loaded = 0, 0, None

    def change(manifest):
        for key in ("model", "arrays") if rng.random() < 0.9 else ("format", "schema"):
            if rng.random() < 0.7:
                manifest[key] = mutate_json(manifest[key], rng)

    def attempt():
        nonlocal loaded
        loaded = None
        with AuditedEvents() as events, contextlib.suppress(ModelFileError):
            loaded = load(path)
        assert not events

    attempt()
    reference = count_calls(attempt)
    for _ in range(n):
        path.write_bytes(repacked(original, change))
        most = max(most, count_calls(attempt))
        if loaded is not None:
            n_accepted += 1
            assert {d.atoms.tobytes() for d in loaded.dictionaries} <= expected
    assert most < MAX_RATIO * reference
    figure(
        f"{n} mutated manifests: 1 exception type; {n_accepted} accepted, with other valid "
        f"parameters, 0 altered arrays; 0 code executed, at most {most} calls, "
        f"{reference} for the original"
    )


def measure_peak(action):
    """Measure the peak of allocated memory in bytes."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_rejecting_malicious_files_takes_little_memory(tmp_path, figure):
    path = tmp_path / "bomb"
    save(make_circuit(), path)
    data = path.read_bytes()
    # Files without an expected message are valid.
    bombs = {
        name: repacked(data, change)
        for name, (change, message) in HOSTILE.items()
        if message is not None
    } | zip_tricks(data)
    save(LARGE, path)
    large = path.read_bytes()
    bombs["large and damaged"] = large[:-200_000] + b"\0" + large[-199_999:]
    max_ratio = 0.0
    for name, bomb in bombs.items():
        path.write_bytes(bomb)

        def reject():
            with pytest.raises(ModelFileError):
                load(path)

        peak, limit = measure_peak(reject), 2 * len(bomb) + (64 << 20)
        assert peak < limit, name
        max_ratio = max(max_ratio, peak / limit)
    figure(f"{len(bombs)} files rejected, peak at most {100 * max_ratio:.0f} % of 2 x file + 64 MB")


def test_rejecting_large_damaged_file_takes_little_memory(tmp_path, figure):
    path = tmp_path / "large"
    write_archive(path, None, {"x": np.zeros((2000, 2000))})
    with path.open("r+b") as file:
        file.seek(20_000_000)
        file.write(b"\1")

    def reject():
        with pytest.raises(ModelFileError, match="SHA-256"):
            load(path)

    peak = measure_peak(reject)
    assert peak < 8 << 20
    figure(f"a damaged file of 32 MB is rejected in {peak / 2**20:.1f} MB")


def write_small_idx_files(folder):
    """Write four files in the form of MNIST, one of them gzipped, and return their arrays."""
    rng = np.random.default_rng(0)
    arrays = {
        "train-images": rng.integers(0, 256, (20, 4, 4), dtype=np.uint8),
        "train-labels": rng.integers(0, 10, 20, dtype=np.uint8),
        "t10k-images": rng.integers(0, 256, (6, 4, 4), dtype=np.uint8),
        "t10k-labels": rng.integers(0, 10, 6, dtype=np.uint8),
    }
    for role, array in arrays.items():
        data = idx.idx_header(array) + array.tobytes()
        name = f"{role}-idx{array.ndim}-ubyte"
        is_gzip = role == "train-images"
        (folder / (name + ".gz" * is_gzip)).write_bytes(gzip.compress(data) if is_gzip else data)
    return arrays


def test_mutated_idx_files_alter_no_data(tmp_path, monkeypatch, full, figure):
    import hashlib

    arrays, rng, n = write_small_idx_files(tmp_path), random.Random(4), 10_000 if full else 600
    digests = {
        role: hashlib.sha256(idx.idx_header(b) + b.tobytes()).hexdigest()
        for role, b in arrays.items()
    }
    monkeypatch.setattr(idx, "MNIST_SHA256", digests)
    original = load_mnist_folder(tmp_path)
    files = sorted(tmp_path.iterdir())
    n_accepted = 0
    for _ in range(n):
        path = rng.choice(files)
        data = path.read_bytes()
        path.write_bytes(mutate(data, rng))
        try:
            loaded = load_mnist_folder(tmp_path)
        except DataError:
            pass
        else:
            n_accepted += 1
            assert np.array_equal(loaded.X_train, original.X_train)
            assert np.array_equal(loaded.y_test, original.y_test)
        try:
            array = read_idx(path)
        except DataError:
            pass
        else:
            assert array.nbytes <= 1032 * path.stat().st_size
        path.write_bytes(data)
    figure(
        f"{n} mutants: 1 error type, {n_accepted} accepted with the same data, 0 with other data"
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
def test_mutated_numpy_files_are_rejected_or_numeric(tmp_path, full, figure):
    rng, n = random.Random(5), 10_000 if full else 600
    rows = np.random.default_rng(0).random((6, 5)).astype(np.float32)
    np.save(tmp_path / "a.npy", rows)
    np.save(tmp_path / "f.npy", np.asfortranarray(rows))
    np.savez(tmp_path / "b.npz", x=rows)
    np.savez_compressed(tmp_path / "c.npz", x=np.zeros((500, 500)))
    np.save(tmp_path / "evil.npy", np.array([print], dtype=object), allow_pickle=True)
    n_accepted, n_altered = 0, 0
    read_npz(tmp_path / "b.npz")
    with AuditedEvents() as events:
        for _ in range(n):
            path = rng.choice(sorted(tmp_path.iterdir()))
            data, read = path.read_bytes(), read_npz if path.suffix == ".npz" else read_npy
            path.write_bytes(mutate(data, rng))
            try:
                array = read(path)
            except DataError:
                pass
            else:
                n_accepted += 1
                assert array.dtype.kind in "fiub"
                expected = rows if path.name == "b.npz" else np.zeros((500, 500))
                n_altered += path.suffix == ".npz" and not np.array_equal(array, expected)
            path.write_bytes(data)
        # NumPy parses a header as a literal, which compiles it and does not execute it.
        assert set(events) <= {"compile"}
    assert not n_altered
    figure(
        f"{n} mutants: 1 error type, 0 code executed, {n_accepted} accepted (a .npy file has no "
        f"digest; of .npz files 0 with altered numbers)"
    )


def test_huge_declared_shape_takes_no_memory(tmp_path, figure):
    path = tmp_path / "bomb.npy"
    np.save(path, np.zeros(3))
    data = path.read_bytes().replace(b"(3,), }          ", b"(2000000000,), } ")
    path.write_bytes(data)

    def reject():
        with pytest.raises(DataError):
            read_npy(path)

    peak = measure_peak(reject)
    assert peak < 4 << 20
    figure(f"a header of 16 GB is rejected in {peak / 2**20:.2f} MB")
