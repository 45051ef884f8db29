"""Nothing lost, nothing let in: kills, full disks and hostile files, each with its figure.

``pytest -m reliability`` runs bounded counts, with ``--full`` the larger ones.
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


def child(work):
    """Do something in a child process that never comes back from it; returns its number."""
    number = os.fork()
    if number:
        return number
    try:
        work()
        os._exit(0)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)


def kill(number):
    """End a child without warning; returns whether it was still at work."""
    os.kill(number, signal.SIGKILL)
    _, status = os.waitpid(number, 0)
    return os.WIFSIGNALED(status)


# ------------------------------------------------------------------ kills


@needs_fork
def test_a_kill_while_saving_leaves_the_old_file_or_the_new_one(tmp_path, full, figure):
    path, rng, n_kills = tmp_path / "model", random.Random(0), 200 if full else 60
    one, two = (
        Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", atoms(200, 300, seed=seed))])
        for seed in (1, 2)
    )
    save(one, path)

    def save_for_ever():
        while True:
            save(two, path)
            save(one, path)

    found, left, most = {0: 0, 1: 0}, 0, 0
    for _ in range(n_kills):
        number = child(save_for_ever)
        time.sleep(rng.uniform(0.002, 0.03))
        assert kill(number)
        loaded = load(path).dictionaries[0]
        same = [loaded == c.dictionaries[0] for c in (one, two)]
        assert any(same)
        found[same.index(True)] += 1
        parts = len(list(tmp_path.iterdir())) - 1
        left, most = left + parts, max(most, parts)
    save(one, path)
    assert os.listdir(tmp_path) == ["model"]
    assert most <= 2  # what was being written, and the second name of the old file
    figure(
        f"{n_kills} kills: 0 unreadable, {found[0]} + {found[1]} whole; {left} temporaries left "
        f"by the killed, at most {most} at a time, 0 after the next save"
    )


@needs_fork
def test_a_killed_learning_is_resumed_to_the_same_bits(tmp_path, full, figure):
    rng, n_awaited = random.Random(1), 50 if full else 5
    data = np.random.default_rng(5)
    X, y = np.abs(data.normal(size=(1200, 8))) / 3, np.arange(1200) % 2
    steered(n_epochs=1).fit(X, y)  # compiles, so that what follows can be timed
    start = time.perf_counter()
    whole = steered(n_epochs=4).fit(X, y)
    seconds = time.perf_counter() - start
    path, kills, runs = tmp_path / "learning", 0, 0

    def learn():
        steered(n_epochs=4).fit(X, y, checkpoint=path, checkpoint_every=7, resume=True)

    while kills < n_awaited:
        path.unlink(missing_ok=True)
        number = child(learn)
        time.sleep(rng.uniform(0.0, seconds))
        kills += kill(number)
        number = child(learn)
        time.sleep(rng.uniform(0.0, seconds))
        kills += kill(number)
        learn()
        runs += 1
        mark, _, _ = read_checkpoint(path)
        assert_same_circuit(mark.circuit, whole.circuit_)
        assert mark.rng == whole._rng.bit_generator.state
        assert (mark.n_steps, mark.n_redrawn) == (whole.n_steps_, whole.n_redrawn_)
    assert os.listdir(tmp_path) == ["learning"]
    figure(
        f"{kills} kills in {runs} learnings of {whole.n_steps_} batches: all ended in the bits of "
        f"the uninterrupted one; {whole.n_redrawn_} idle atoms drawn anew, fading driver"
    )


# ------------------------------------------------------------------ disks


class Faulty:
    """The module ``os`` with one call that fails: every call counts, in order."""

    # Not unlink: what a writer fails to clear away, the next one does.
    COUNTED = ("stat", "listdir", "open", "fdopen", "fchmod", "fsync", "link", "replace")

    def __init__(self, fail_at=None, code=0):
        self.fail_at, self.code, self.calls = fail_at, code, []

    def __getattr__(self, name):
        value = getattr(os, name)
        if name == "fdopen":
            return lambda *a: FaultyFile(self, self.counted("fdopen", value)(*a))
        return self.counted(name, value) if name in self.COUNTED else value

    def counted(self, name, function):
        def called(*arguments, **more):
            self.calls.append(name)
            if len(self.calls) - 1 == self.fail_at:
                raise OSError(self.code, os.strerror(self.code))
            return function(*arguments, **more)

        return called


class FaultyFile:
    """A file whose writes are counted too."""

    def __init__(self, system, file):
        self._system, self._file = system, file

    def __getattr__(self, name):
        value = getattr(self._file, name)
        return self._system.counted(name, value) if name in ("write", "flush") else value

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


def _savez(path):
    with atomic.write_atomic(path) as file:
        np.savez(file, x=np.arange(5.0))


def _figure(path):
    from matplotlib.figure import Figure

    with atomic.write_atomic(path) as file:
        Figure(figsize=(1, 1)).savefig(file, format="png")


WRITERS = {
    "a model": lambda path: save(make_circuit(), path),
    "an archive": lambda path: write_archive(path, None, {"x": np.arange(5.0)}),
    "results": lambda path: atomic.write_text(path, "{}\n"),
    "arrays": _savez,
    "a figure": _figure,
}
CODES = (errno.ENOSPC, errno.EROFS, errno.EIO, errno.EACCES)


@pytest.mark.parametrize("before", [b"old", None], ids=["replaced", "new"])
@pytest.mark.parametrize("name", WRITERS)
def test_an_error_at_any_call_is_raised_and_leaves_what_was_there(
    tmp_path, monkeypatch, name, before, figure
):
    path, write = tmp_path / "file", WRITERS[name]

    def found():
        return path.read_bytes() if path.exists() else None

    def run(system):
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)
        monkeypatch.setattr(atomic, "os", system)
        write(path)

    watched = Faulty()
    run(watched)
    assert found() != before
    for place, call in enumerate(watched.calls):
        for code in CODES:
            with pytest.raises(OSError, match=os.strerror(code)):
                run(Faulty(place, code))
            assert found() == before, call
            assert os.listdir(tmp_path) == ([] if before is None else ["file"])
    n, behind = len(watched.calls), len(watched.calls) - 1 - watched.calls.index("replace")
    figure(
        f"{n * len(CODES)} errors at {n} calls, {behind} of them behind the rename: 100 % raised, "
        + ("no file where none was" if before is None else "old file intact")
    )


class Linkless(Faulty):
    """A file system without hard links, and one call that fails."""

    def link(self, *_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_without_hard_links_an_error_behind_the_rename_leaves_the_new_file_whole(
    tmp_path, monkeypatch
):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    watched = Linkless()
    monkeypatch.setattr(atomic, "os", watched)
    atomic.write_text(path, "new")
    for place in range(len(watched.calls)):
        path.write_bytes(b"old")
        monkeypatch.setattr(atomic, "os", Linkless(place, errno.EIO))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            atomic.write_text(path, "new")
        behind = place > watched.calls.index("replace")
        assert path.read_text() == ("new" if behind else "old")
        assert os.listdir(tmp_path) == ["file"]


def test_a_second_name_that_could_not_be_cleared_away_is_swept_by_the_next_writer(
    tmp_path, monkeypatch
):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o444)

    class Sticky(Faulty):
        def unlink(self, *_):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(atomic, "os", Sticky())
    atomic.write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "new"
    assert len(os.listdir(tmp_path)) == 2
    atomic.write_text(path, "newer")
    assert os.listdir(tmp_path) == ["file"]


@needs_fork
def test_a_file_that_outgrows_its_limit_is_told_and_leaves_the_old_one(tmp_path, figure):
    import resource

    path = tmp_path / "model"
    save(make_circuit(), path)
    before = path.read_bytes()

    def outgrow():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        with pytest.raises(OSError, match="File too large"):
            save(LARGE, path)

    _, status = os.waitpid(child(outgrow), 0)
    assert status == 0
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]
    figure("EFBIG of the system itself: raised, old file intact")


LARGE = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", atoms(200, 300))])


def test_every_file_that_the_library_writes_is_written_by_the_one_helper():
    writers = {"write_text", "write_bytes", "savetxt", "save", "savez", "savez_compressed"}
    found = []
    for path in Path(spikelca.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside = {
            id(node)
            for block in ast.walk(tree)
            if isinstance(block, ast.With)
            and any("replacing" in ast.unparse(item.context_expr) for item in block.items)
            for node in ast.walk(block)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or id(node) in inside:
                continue
            text = ast.unparse(node)
            method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            opened = method == "open" and any(mode in text for mode in ("'w", "'a", "'x", "'r+"))
            plain = text.startswith("open(") and any(m in text for m in ("'w", "'a", "'x", "'r+"))
            if method in writers or method == "savefig" or opened or plain:
                found.append(f"{path.name}:{node.lineno} {text[:60]}")
    # A benchmark writes a large file of random rows to read it back as a memory map.
    unexpected = [line for line in found if not line.startswith("benchmark_scaling.py")]
    assert not unexpected


# ------------------------------------------------------------------ hostile files


SLOWEST = 500
"""How many times as long as a whole file a mutant may occupy the processor."""

WATCHED = ("exec", "compile", "pickle.find_class", "os.system", "subprocess.Popen", "os.exec")
_heard: list[str] | None = None


def _listen(event, arguments):
    if _heard is not None and event in WATCHED:
        _heard.append(event)


class Ears:
    """Hear whether code is compiled or executed, pickles opened or programs started."""

    installed = False

    def __enter__(self):
        global _heard
        if not Ears.installed:
            sys.addaudithook(_listen)
            Ears.installed = True
        _heard = []
        return _heard

    def __exit__(self, *_):
        global _heard
        _heard = None


def mutant(data, rng):
    """The bytes with a few changes of the kinds that happen and that are made."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        kind, place = rng.randrange(7), rng.randrange(len(data))
        length = rng.randrange(1, 40)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place] = rng.randrange(256)
        elif kind == 2:
            del data[place : place + length]
        elif kind == 3:
            data[place:place] = rng.randbytes(length)
        elif kind == 4:
            other = rng.randrange(len(data))
            data[place : place + length] = data[other : other + length]
        elif kind == 5:
            del data[max(place, 1) :]
        else:
            data += rng.randbytes(length)
        data = data or bytearray(b"\0")
    return bytes(data)


def mutated_tree(value, rng):
    """Change one thing somewhere in a JSON value."""
    odd = [None, True, -1, 0, 1e308, 10**40, "", "..", "__class__", [], {}, [[]], "float64"]
    if rng.random() < 0.3 or not isinstance(value, (dict, list)) or not value:
        return rng.choice([*odd, -value if isinstance(value, (int, float)) else "x"])
    key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    changed = value.copy()
    if rng.random() < 0.15:
        del changed[key]
    elif rng.random() < 0.1 and isinstance(value, dict):
        changed["extra"] = changed[key]
    else:
        changed[key] = mutated_tree(value[key], rng)
    return changed


def processor_time(action):
    """Seconds of the processor that an action takes: other work on the machine does not count."""
    start = time.process_time()
    action()
    return time.process_time() - start


def test_mutated_model_files_have_one_error_and_no_altered_array(tmp_path, full, figure):
    path, rng, n = tmp_path / "model", random.Random(2), 10_000 if full else 600
    save(make_circuit(), path)
    whole, same, slowest = path.read_bytes(), 0, 0.0

    def read():
        load(path)

    def rejected():
        with pytest.raises(ModelFileError):
            load(path)

    usual = min(processor_time(read) for _ in range(10))

    with Ears() as heard:
        for _ in range(n):
            data = mutant(whole, rng)
            path.write_bytes(data)
            same += data == whole
            slowest = max(slowest, processor_time(read if data == whole else rejected) / usual)
        assert not heard
    assert slowest < SLOWEST
    figure(
        f"{n} mutants ({same} of them equal to the original): 1 exception type, 0 altered files "
        f"accepted, 0 code executed, the slowest takes {slowest:.1f} times as long as a whole file"
    )


def test_mutated_manifests_with_right_digests_have_one_error_or_the_right_arrays(
    tmp_path, full, figure
):
    path, rng, n = tmp_path / "model", random.Random(3), 10_000 if full else 600
    circuit = make_circuit()
    save(circuit, path)
    whole = path.read_bytes()
    right = {d.atoms.tobytes() for d in circuit.dictionaries}
    accepted, slowest, found = 0, 0.0, None

    def change(manifest):
        for key in ("model", "arrays") if rng.random() < 0.9 else ("format", "schema"):
            if rng.random() < 0.7:
                manifest[key] = mutated_tree(manifest[key], rng)

    def attempt():
        nonlocal found
        found = None
        with Ears() as heard, contextlib.suppress(ModelFileError):
            found = load(path)
        assert not heard

    usual = min(processor_time(lambda: load(path)) for _ in range(10))
    for _ in range(n):
        path.write_bytes(repacked(whole, change))
        slowest = max(slowest, processor_time(attempt) / usual)
        if found is not None:
            accepted += 1
            assert {d.atoms.tobytes() for d in found.dictionaries} <= right
    assert slowest < SLOWEST
    figure(
        f"{n} forged manifests: 1 exception type; {accepted} accepted, which say something else "
        f"that makes sense, 0 altered arrays; 0 code executed, the slowest takes {slowest:.1f} "
        f"times as long as a whole file"
    )


def peak_of(action):
    """Most memory, in bytes, that is held at a time."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_bombs_are_refused_in_little_memory(tmp_path, figure):
    path = tmp_path / "bomb"
    save(make_circuit(), path)
    data = path.read_bytes()
    # Two of the table are no bombs: they load, or say what only a circuit of this kind can say.
    bombs = {
        name: repacked(data, change)
        for name, (change, fault) in HOSTILE.items()
        if fault is not None
    } | zip_tricks(data)
    save(LARGE, path)
    large = path.read_bytes()
    bombs["large and damaged"] = large[:-200_000] + b"\0" + large[-199_999:]
    worst = 0.0
    for name, bomb in bombs.items():
        path.write_bytes(bomb)

        def refused():
            with pytest.raises(ModelFileError):
                load(path)

        peak, room = peak_of(refused), 2 * len(bomb) + (64 << 20)
        assert peak < room, name
        worst = max(worst, peak / room)
    figure(f"{len(bombs)} bombs refused, peak at most {100 * worst:.0f} % of 2 x file + 64 MB")


def test_a_large_damaged_file_is_refused_without_memory_for_it(tmp_path, figure):
    path = tmp_path / "large"
    write_archive(path, None, {"x": np.zeros((2000, 2000))})
    with path.open("r+b") as file:
        file.seek(20_000_000)
        file.write(b"\1")

    def refused():
        with pytest.raises(ModelFileError, match="SHA-256"):
            load(path)

    peak = peak_of(refused)
    assert peak < 8 << 20
    figure(f"a damaged file of 32 MB is refused in {peak / 2**20:.1f} MB")


def small_idx_files(folder):
    """Four files as MNIST has them, one of them gzipped; returns their right content."""
    rng = np.random.default_rng(0)
    right = {
        "train-images": rng.integers(0, 256, (20, 4, 4), dtype=np.uint8),
        "train-labels": rng.integers(0, 10, 20, dtype=np.uint8),
        "t10k-images": rng.integers(0, 256, (6, 4, 4), dtype=np.uint8),
        "t10k-labels": rng.integers(0, 10, 6, dtype=np.uint8),
    }
    for role, block in right.items():
        data = idx.idx_header(block) + block.tobytes()
        name = f"{role}-idx{block.ndim}-ubyte"
        packed = role == "train-images"
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(data) if packed else data)
    return right


def test_mutated_idx_files_have_one_error_or_the_right_data(tmp_path, monkeypatch, full, figure):
    import hashlib

    right, rng, n = small_idx_files(tmp_path), random.Random(4), 10_000 if full else 600
    digests = {
        role: hashlib.sha256(idx.idx_header(b) + b.tobytes()).hexdigest()
        for role, b in right.items()
    }
    monkeypatch.setattr(idx, "MNIST_SHA256", digests)
    whole = load_mnist_folder(tmp_path)
    files = sorted(tmp_path.iterdir())
    accepted = 0
    for _ in range(n):
        path = rng.choice(files)
        data = path.read_bytes()
        path.write_bytes(mutant(data, rng))
        try:
            found = load_mnist_folder(tmp_path)
        except DataError:
            pass
        else:
            accepted += 1
            assert np.array_equal(found.X_train, whole.X_train)
            assert np.array_equal(found.y_test, whole.y_test)
        try:
            block = read_idx(path)
        except DataError:
            pass
        else:
            assert block.nbytes <= 1032 * path.stat().st_size
        path.write_bytes(data)
    figure(f"{n} mutants: 1 error type, {accepted} accepted with the right data, 0 with other data")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
def test_mutated_npy_and_npz_files_have_one_error_or_numbers(tmp_path, full, figure):
    rng, n = random.Random(5), 10_000 if full else 600
    rows = np.random.default_rng(0).random((6, 5)).astype(np.float32)
    np.save(tmp_path / "a.npy", rows)
    np.save(tmp_path / "f.npy", np.asfortranarray(rows))
    np.savez(tmp_path / "b.npz", x=rows)
    np.savez_compressed(tmp_path / "c.npz", x=np.zeros((500, 500)))
    np.save(tmp_path / "evil.npy", np.array([print], dtype=object), allow_pickle=True)
    accepted, altered = 0, 0
    read_npz(tmp_path / "b.npz")
    with Ears() as heard:
        for _ in range(n):
            path = rng.choice(sorted(tmp_path.iterdir()))
            data, read = path.read_bytes(), read_npz if path.suffix == ".npz" else read_npy
            path.write_bytes(mutant(data, rng))
            try:
                found = read(path)
            except DataError:
                pass
            else:
                accepted += 1
                assert found.dtype.kind in "fiub"
                altered += path.suffix == ".npz" and not np.array_equal(found, _of(path, rows))
            path.write_bytes(data)
        # NumPy reads a header as a literal, which compiles it and does not execute it.
        assert set(heard) <= {"compile"}
    assert not altered
    figure(
        f"{n} mutants: 1 error type, 0 code executed, {accepted} accepted (a .npy file carries no "
        f"digest; of .npz files 0 with altered numbers)"
    )


def _of(path, rows):
    return rows if path.name == "b.npz" else np.zeros((500, 500))


def test_a_header_that_promises_gigabytes_takes_no_memory(tmp_path, figure):
    path = tmp_path / "bomb.npy"
    np.save(path, np.zeros(3))
    data = path.read_bytes().replace(b"(3,), }          ", b"(2000000000,), } ")
    path.write_bytes(data)

    def refused():
        with pytest.raises(DataError):
            read_npy(path)

    peak = peak_of(refused)
    assert peak < 4 << 20
    figure(f"a header of 16 GB is refused in {peak / 2**20:.2f} MB")
