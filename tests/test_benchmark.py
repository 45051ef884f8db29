"""Benchmark: rows and text; no ratio is shown for different results."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from spikelca.benchmarks import encode, learn, scaling, simulate, suites, workers
from spikelca.benchmarks.encode import (
    PeerBenchmark,
    compare_with_peer,
    encode_task,
    mean_gap,
    mean_objective,
)
from spikelca.benchmarks.measure import (
    Quartiles,
    Row,
    fix_threads,
    meets_target,
    objectives_agree,
    time_interleaved,
)
from spikelca.benchmarks.peers import LassoProblem, numpy_fista, sklearn_lasso, spams_lasso
from spikelca.benchmarks.simulate import spiking_task
from spikelca.benchmarks.suites import format_benchmark, run_benchmark


def make_problem(n_samples=30):
    rng = np.random.default_rng(0)
    atoms = rng.random((12, 16)).astype(np.float32)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    return LassoProblem(rng.random((n_samples, 16)).astype(np.float32), atoms, 0.2)


@pytest.mark.parametrize("maker", [sklearn_lasso, lambda p: numpy_fista(p, 2000), spams_lasso])
def test_every_peer_solves_the_same_problem(maker):
    problem = make_problem()
    try:
        code = maker(problem)()
    except ImportError as error:
        pytest.skip(str(error))
    assert mean_objective(problem, code) == pytest.approx(
        mean_objective(problem, encode_task(problem, 1e-5)()), rel=1e-3
    )
    assert mean_gap(problem, code) < 1e-2


def test_missing_peer_is_named():
    def missing(problem):
        raise ImportError("no module named nowhere")

    skipped = []
    assert (
        list(compare_with_peer(make_problem(), PeerBenchmark("Nowhere", missing, 10), 1, skipped))
        == []
    )
    assert skipped == [{"peer": "Nowhere", "why": "no module named nowhere"}]


def test_no_ratio_for_different_objectives():
    skipped = []
    wrong = PeerBenchmark("Lazy", lambda p: lambda: np.zeros((len(p.X), len(p.atoms))), 10)
    assert list(compare_with_peer(make_problem(), wrong, 1, skipped)) == []
    assert "objectives differ" in skipped[0]["why"]


def test_rounds_are_interleaved():
    calls = []
    tasks = {name: (lambda n=name: calls.append(n)) for name in "ab"}
    seconds = time_interleaved(tasks, 3)
    assert calls == ["a", "b"] * 4
    assert {name: len(s) for name, s in seconds.items()} == {"a": 3, "b": 3}


def test_targets_have_directions():
    assert meets_target(6.0, ">= 5") is True
    assert meets_target(4.0, "<= 3.5") is False
    assert meets_target(4.0, "") is None
    assert objectives_agree({"a": 1.0, "b": 1.00001}, 1e-4)
    assert Quartiles.of(np.array([3.0, 1.0, 2.0])).median == 2.0


@pytest.fixture
def small(monkeypatch):
    problem = make_problem()
    rows = np.random.default_rng(1).random((300, 16)).astype(np.float32)
    images = type("Images", (), {"name": "noise", "X_train": rows, "X_test": problem.X})
    monkeypatch.setattr(suites, "load_images", lambda data, verify: images)
    monkeypatch.setattr(
        suites, "make_problem", lambda train, test, n: LassoProblem(test, problem.atoms, 0.2)
    )
    monkeypatch.setattr(
        encode,
        "peer_benchmarks",
        lambda quick: [PeerBenchmark("scikit-learn", sklearn_lasso, 10)],
    )
    monkeypatch.setattr(encode, "count_steps_to_gap", lambda problem, maker, gap: 2000)


def test_quick_run_gives_json_and_text(small):
    results = run_benchmark(["encode"], quick=True)
    json.dumps(results)
    assert {row["suite"] for row in results["rows"]} == {"encode"}
    for row in results["rows"]:
        assert row["value"]["median"] > 0
        assert all(np.isfinite(gap) and gap < 1e-2 for gap in row["gaps"].values())
    text = format_benchmark(results)
    assert "scikit-learn / encode" in text
    assert "noise" in text
    assert results["conditions"]["versions"]["numpy"] in text


def test_unknown_suite_raises():
    with pytest.raises(ValueError, match="'speed'"):
        run_benchmark(["speed"], quick=True)


def test_single_images_give_codes_of_the_batch():
    problem = make_problem(5)
    unit = problem.X / np.linalg.norm(problem.X, axis=1, keepdims=True)
    problem = LassoProblem(unit.astype(np.float64), problem.atoms.astype(np.float64), 0.1)
    (batch,) = spiking_task(problem, "numba")()
    singles = spiking_task(problem, "numba", 1)()
    assert len(singles) == 5
    np.testing.assert_array_equal(np.vstack([r.code for r in singles]), batch.code)


@pytest.fixture
def fake_clock(monkeypatch):
    """Every task runs once, and takes one second more than the previous one: 2, 3, ..."""

    def constant(tasks, rounds, clock=None):
        for task in tasks.values():
            task()
        return {name: np.full(rounds, 2.0 + index) for index, name in enumerate(tasks)}

    for module in (
        encode, scaling, simulate, learn, workers
    ):  # fmt: skip
        monkeypatch.setattr(module, "time_interleaved", constant)


def assert_microseconds_per_sample(row, n, seconds):
    assert row.times == pytest.approx({name: s / n * 1e6 for name, s in seconds.items()})


def test_ratios_and_times_follow_the_clock(fake_clock):
    problem, skipped = make_problem(4), []
    X = np.random.default_rng(2).random((500, 16)).astype(np.float32)
    two = {"ours": 2.0, "peer": 3.0}
    unit = replace(problem, X=problem.X / np.linalg.norm(problem.X, axis=1, keepdims=True))
    for row, n, seconds in (
        (encode.compare_with_product(problem, 2), 4, {"ours": 2.0, "product": 3.0}),
        (*learn.learn_suite(problem, X, True, skipped), 500, two),
        (*learn.compare_dense_rate(problem, True, skipped), 4, two),
        (scaling.time_warm_start(problem), 4, {"rest": 2.0, "near": 3.0}),
        (simulate.time_full_set(unit), 4, {"ours": 2.0}),
    ):
        assert_microseconds_per_sample(row, n, seconds)
        first_over_second = {"ours", "product"} <= set(seconds) or "rest" in seconds
        first, second = (*seconds.values(), 1.0)[:2]
        ratio = first / second if first_over_second or len(seconds) == 1 else second / first
        assert row.value.median == pytest.approx(ratio)
    assert not skipped


def test_every_pool_uses_given_threads():
    def pools():
        return [pool["num_threads"] for pool in threadpool_info()]

    with fix_threads(1):  # imports the libraries
        pass
    with threadpool_limits(2):
        before = pools()
        with fix_threads(1):
            assert pools() == [1] * len(before)
        assert pools() == before


def test_scaling_divides_by_samples(fake_clock):
    results = list(scaling.time_batches(make_problem(100), True))
    assert [row.measure for row in results] == ["batch of 10", "batch of 100"]
    assert [row.value.median for row in results] == pytest.approx([0.2e6, 0.02e6])
    assert scaling.time_encode(make_problem(5), "five").value.median == pytest.approx(0.4e6)
    assert scaling.time_single_sample(make_problem(5), True).value.median == pytest.approx(2e6)


def test_estimators_are_compared_with_their_circuit(fake_clock):
    problem = make_problem(5)
    X = np.random.default_rng(2).random((500, 16)).astype(np.float32)
    rows = list(scaling.time_estimators(problem, X, True))
    assert [row.measure.split()[4] for row in rows] == ["LCACoder.transform", "LinkedLCA.transform"]
    for row, model in zip(rows, ("encode", "encode"), strict=True):
        assert row.value.median == pytest.approx(row.times["transform"] - row.times[model])


def test_memory_is_peak_without_codes(monkeypatch):
    class Peak:
        peak = 3 << 30

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(scaling, "resident_bytes", lambda: 1 << 30)
    monkeypatch.setattr(scaling, "PeakMemory", Peak)
    row = scaling.measure_memory(make_problem(), True)
    codes = 20_000 * (12 * 4 + 3 * 8) / 2**20  # residual, gap and rounds in double precision
    assert row.value.median == pytest.approx(2048 - codes, abs=1)
    assert row.met is False


def test_workers_suite_compares_one_and_two_workers(fake_clock, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="needs dask")
    X, created = np.random.default_rng(3).random((60, 16)).astype(np.float32), []

    def make_cluster(n_workers):
        created.append(n_workers)
        return distributed.LocalCluster(
            n_workers=n_workers, threads_per_worker=1, processes=False, dashboard_address=None
        )

    monkeypatch.setattr(workers, "_make_cluster", make_cluster)
    rows = {row.measure: row for row in workers.workers_suite(make_problem(), X, True, [])}
    assert created == [1, 2]
    for name in ("encode 60 samples", "step of 60 samples"):
        row = rows[f"{name}: one worker / two"]
        assert_microseconds_per_sample(row, 60, {"one": 2.0, "two": 3.0})
        assert row.value.median == pytest.approx(2 / 3)


def test_no_ratio_for_different_spikes_or_atoms(fake_clock, monkeypatch):
    class Circuit:
        def __init__(self, *parts):
            pass

        def simulate(self, stimuli, duration, *, engine, record):
            return type("Response", (), {"spikes": (np.array([engine == "numba"]),)})

    skipped = []
    monkeypatch.setattr(learn, "Circuit", Circuit)
    assert list(learn.compare_brian2(make_problem(2), True, skipped)) == []
    monkeypatch.setattr(learn, "learn_epoch", lambda X, start, lam: start[:, ::-1])
    X = np.random.default_rng(2).random((500, 16)).astype(np.float32)
    assert list(learn.learn_suite(make_problem(), X, True, skipped)) == []
    assert [item["peer"] for item in skipped] == ["Brian2", "MiniBatchDictionaryLearning"]


@pytest.mark.parametrize(
    ("shape", "quick"), [((256, 784), False), ((256, 784), True), ((9, 4), False)]
)
def test_targets_are_shown_for_mnist_only(small, monkeypatch, shape, quick):
    for suite in suites.SUITES:
        row = Row(suite, "m", Quartiles(6.0, 6.0, 6.0, 1), target=">= 5", met=True)
        monkeypatch.setattr(suites, f"{suite}_suite", lambda *_, row=row: iter([row]))
    problem = LassoProblem(np.ones((2, shape[1])), np.ones(shape), 0.1)
    monkeypatch.setattr(suites, "make_problem", lambda train, test, n: problem)
    results = run_benchmark(quick=quick)
    assert [row["suite"] for row in results["rows"]] == list(suites.SUITES)
    has_targets = shape == (256, 784) and not quick
    assert {(row["target"], row["met"]) for row in results["rows"]} == {
        (">= 5", True) if has_targets else ("", None)
    }


@pytest.mark.parametrize(("n_pixels", "n_atoms"), [(64, 64), (255, 64), (256, 256), (784, 256)])
def test_number_of_atoms_depends_on_the_image_size(monkeypatch, n_pixels, n_atoms):
    class Reached(Exception):
        pass

    def make_problem(train, test, n):
        raise Reached(n)

    images = SimpleNamespace(X_train=np.ones((3, n_pixels)), X_test=np.ones((2, n_pixels)))
    monkeypatch.setattr(suites, "load_images", lambda *arguments: images)
    monkeypatch.setattr(suites, "make_problem", make_problem)
    with pytest.raises(Reached) as caught:
        run_benchmark()
    assert caught.value.args == (n_atoms,)


def test_peer_learns_from_the_same_samples_in_the_same_order(fake_clock, monkeypatch):
    from sklearn import decomposition

    models = []

    class Peer(decomposition.MiniBatchDictionaryLearning):
        def fit(self, X):
            models.append((self, X))
            return super().fit(X)

    monkeypatch.setattr(decomposition, "MiniBatchDictionaryLearning", Peer)
    problem, X = make_problem(4), np.random.default_rng(2).random((500, 16)).astype(np.float32)
    list(learn.learn_suite(problem, X, True, []))
    [(model, seen)] = models
    np.testing.assert_array_equal(seen, X)
    np.testing.assert_array_equal(model.dict_init, learn.initial_atoms(X, 12))
    assert not model.shuffle
    assert (model.alpha, model.max_iter, model.batch_size) == (problem.lam, 1, learn.BATCH)


@pytest.mark.parametrize("batch", [1, 6])
def test_compiled_brian2_is_timed_per_sample(fake_clock, monkeypatch, batch):
    monkeypatch.setattr(simulate, "Brian2Engine", lambda target: "numba")
    problem = make_problem()
    unit = replace(problem, X=problem.X / np.linalg.norm(problem.X, axis=1, keepdims=True))
    row, *rest = simulate.compare_compiled_brian2(unit, batch, ">= 5")
    n = batch if batch > 1 else simulate.SINGLE_CALLS
    assert_microseconds_per_sample(row, n, {"ours": 2.0, "peer": 3.0})
    assert row.value.median == pytest.approx(1.5)
    assert [more.value.median for more in rest] == [60 * batch / 3.0] * (batch > 1)


def test_images_in_spikes_have_unit_norm(fake_clock, monkeypatch):
    timed, time_full_set = [], simulate.time_full_set
    monkeypatch.setattr(simulate, "Brian2Engine", lambda target: "numba")
    monkeypatch.setattr(simulate, "time_full_set", lambda p: timed.append(p) or time_full_set(p))
    problem, skipped = make_problem(100), []
    rows = list(simulate.time_spiking(problem, skipped))
    assert (len(rows), skipped) == (4, [])
    norms = np.linalg.norm(problem.X, axis=1)
    np.testing.assert_allclose(timed[0].X, problem.X / norms[:, None], rtol=1e-6)
    assert timed[0].lam == pytest.approx(problem.lam / np.median(norms))


def test_cluster_has_the_number_of_workers(monkeypatch):
    distributed = pytest.importorskip("distributed", reason="needs dask")
    monkeypatch.setattr(distributed, "LocalCluster", lambda **options: options)
    for n_workers in (1, 2):
        options = workers._make_cluster(n_workers)
        assert (options["n_workers"], options["threads_per_worker"]) == (n_workers, 1)
