"""The benchmark: its rows, its words, and that no ratio is shown for another answer."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from spikelca.benchmarks import (
    encode as benchmark_encode,
)
from spikelca.benchmarks import (
    learn as benchmark_time,
)
from spikelca.benchmarks import (
    scaling as benchmark_scaling,
)
from spikelca.benchmarks import (
    simulate as benchmark_spikes,
)
from spikelca.benchmarks import (
    suites as benchmark,
)
from spikelca.benchmarks import (
    workers as benchmark_workers,
)
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
    meets_target,
    objectives_agree,
    time_interleaved,
)
from spikelca.benchmarks.peers import LassoProblem, numpy_fista, sklearn_lasso, spams_lasso
from spikelca.benchmarks.simulate import spiking_task
from spikelca.benchmarks.suites import format_benchmark, run_benchmark


def tiny(n_samples=30):
    rng = np.random.default_rng(0)
    atoms = rng.random((12, 16)).astype(np.float32)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    return LassoProblem(rng.random((n_samples, 16)).astype(np.float32), atoms, 0.2)


@pytest.mark.parametrize("maker", [sklearn_lasso, lambda p: numpy_fista(p, 2000), spams_lasso])
def test_every_peer_solves_the_same_problem(maker):
    problem = tiny()
    try:
        code = maker(problem)()
    except ImportError as error:
        pytest.skip(str(error))
    assert mean_objective(problem, code) == pytest.approx(
        mean_objective(problem, encode_task(problem, 1e-5)()), rel=1e-3
    )
    assert mean_gap(problem, code) < 1e-2


def test_a_missing_peer_is_named_and_not_imitated():
    def absent(problem):
        raise ImportError("no module named nowhere")

    skipped = []
    assert list(compare_with_peer(tiny(), PeerBenchmark("Nowhere", absent, 10), 1, skipped)) == []
    assert skipped == [{"peer": "Nowhere", "why": "no module named nowhere"}]


def test_a_ratio_is_not_shown_for_another_objective():
    skipped = []
    wrong = PeerBenchmark("Lazy", lambda p: lambda: np.zeros((len(p.X), len(p.atoms))), 10)
    assert list(compare_with_peer(tiny(), wrong, 1, skipped)) == []
    assert "objectives differ" in skipped[0]["why"]


def test_rounds_are_interleaved_and_the_first_is_not_measured():
    calls = []
    tasks = {name: (lambda n=name: calls.append(n)) for name in "ab"}
    seconds = time_interleaved(tasks, 3)
    assert calls == ["a", "b"] * 4
    assert {name: len(s) for name, s in seconds.items()} == {"a": 3, "b": 3}


def test_targets_are_judged_in_their_direction():
    assert meets_target(6.0, ">= 5") is True
    assert meets_target(4.0, "<= 3.5") is False
    assert meets_target(4.0, "") is None
    assert objectives_agree({"a": 1.0, "b": 1.00001}, 1e-4)
    assert Quartiles.of(np.array([3.0, 1.0, 2.0])).median == 2.0


@pytest.fixture
def small(monkeypatch):
    problem = tiny()
    rows = np.random.default_rng(1).random((300, 16)).astype(np.float32)
    images = type("Images", (), {"name": "noise", "X_train": rows, "X_test": problem.X})
    monkeypatch.setattr(benchmark, "load_images", lambda data: images)
    monkeypatch.setattr(
        benchmark, "make_problem", lambda train, test, n: LassoProblem(test, problem.atoms, 0.2)
    )
    monkeypatch.setattr(
        benchmark_encode,
        "peer_benchmarks",
        lambda quick: [PeerBenchmark("scikit-learn", sklearn_lasso, 10)],
    )
    monkeypatch.setattr(benchmark_encode, "steps_to_gap", lambda problem, maker, gap: 2000)


def test_a_quick_run_gives_plain_numbers_and_a_page(small):
    found = run_benchmark(["encode"], quick=True)
    json.dumps(found)
    assert {row["suite"] for row in found["rows"]} == {"encode"}
    for row in found["rows"]:
        assert row["value"]["median"] > 0
        assert all(np.isfinite(gap) and gap < 1e-2 for gap in row["gaps"].values())
    page = format_benchmark(found)
    assert "scikit-learn / encode" in page
    assert "noise" in page
    assert found["conditions"]["versions"]["numpy"] in page


def test_an_unknown_suite_is_refused():
    with pytest.raises(ValueError, match="'speed'"):
        run_benchmark(["speed"], quick=True)


def test_images_one_by_one_give_the_codes_of_the_whole_batch():
    problem = tiny(5)
    unit = problem.X / np.linalg.norm(problem.X, axis=1, keepdims=True)
    problem = LassoProblem(unit.astype(np.float64), problem.atoms.astype(np.float64), 0.1)
    (whole,) = spiking_task(problem, "numba")()
    alone = spiking_task(problem, "numba", 1)()
    assert len(alone) == 5
    np.testing.assert_array_equal(np.vstack([r.code for r in alone]), whole.code)


@pytest.fixture
def stopped(monkeypatch):
    """Every task runs once, and each takes a second more than the one before it: 2, 3, ..."""

    def constant(tasks, rounds, clock=None):
        for task in tasks.values():
            task()
        return {name: np.full(rounds, 2.0 + place) for place, name in enumerate(tasks)}

    for module in (
        benchmark_encode, benchmark_scaling, benchmark_spikes, benchmark_time, benchmark_workers
    ):  # fmt: skip
        monkeypatch.setattr(module, "interleaved", constant)


def assert_microseconds_a_sample(row, n, seconds):
    assert row.times == pytest.approx({name: s / n * 1e6 for name, s in seconds.items()})


def test_ratios_and_times_follow_the_clock(stopped):
    problem, skipped = tiny(4), []
    X = np.random.default_rng(2).random((500, 16)).astype(np.float32)
    two = {"ours": 2.0, "peer": 3.0}
    unit = replace(problem, X=problem.X / np.linalg.norm(problem.X, axis=1, keepdims=True))
    for row, n, seconds in (
        (benchmark_encode.compare_with_product(problem, 2), 4, {"ours": 2.0, "product": 3.0}),
        (*benchmark_time.learn_suite(problem, X, True, skipped), 500, two),
        (*benchmark_time.compare_dense_rate(problem, True, skipped), 4, two),
        (benchmark_scaling.warm_start(problem), 4, {"rest": 2.0, "near": 3.0}),
        (benchmark_spikes.time_full_set(unit), 4, {"ours": 2.0}),
    ):
        assert_microseconds_a_sample(row, n, seconds)
        reached = {"ours", "product"} <= set(seconds) or "rest" in seconds
        first, second = (*seconds.values(), 1.0)[:2]
        ratio = first / second if reached or len(seconds) == 1 else second / first
        assert row.value.median == pytest.approx(ratio)
    assert not skipped


def test_scaling_counts_samples_and_keeps_whole_batches(stopped):
    found = list(benchmark_scaling.batches(tiny(100), True))
    assert [row.measure for row in found] == ["batch of 10", "batch of 100"]
    assert [row.value.median for row in found] == pytest.approx([0.2e6, 0.02e6])
    assert benchmark_scaling.time_encode(tiny(5), "five").value.median == pytest.approx(0.4e6)
    assert benchmark_scaling.latency(tiny(5), True).value.median == pytest.approx(2e6)


def test_memory_is_the_peak_beyond_the_codes(monkeypatch):
    class Peak:
        peak = 3 << 30

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(benchmark_scaling, "resident_bytes", lambda: 1 << 30)
    monkeypatch.setattr(benchmark_scaling, "PeakMemory", Peak)
    row = benchmark_scaling.memory(tiny(), True)
    codes = 20_000 * (12 * 4 + 3 * 8) / 2**20  # residual, gap and rounds in double precision
    assert row.value.median == pytest.approx(2048 - codes, abs=1)
    assert row.met is False


def test_workers_are_one_and_two_over_the_same_samples(stopped, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="needs dask")
    X, made = np.random.default_rng(3).random((60, 16)).astype(np.float32), []

    def cluster(n_workers):
        made.append(n_workers)
        return distributed.LocalCluster(
            n_workers=n_workers, threads_per_worker=1, processes=False, dashboard_address=None
        )

    monkeypatch.setattr(benchmark_workers, "_cluster", cluster)
    rows = {row.measure: row for row in benchmark_workers.workers_suite(tiny(), X, True, [])}
    assert made == [1, 2]
    for name in ("encode 60 samples", "step of 60 samples"):
        row = rows[f"{name}: one worker / two"]
        assert_microseconds_a_sample(row, 60, {"one": 2.0, "two": 3.0})
        assert row.value.median == pytest.approx(2 / 3)


def test_other_spikes_and_worse_atoms_give_no_ratio(stopped, monkeypatch):
    class Circuit:
        def __init__(self, *parts):
            pass

        def simulate(self, stimuli, duration, *, engine, record):
            return type("Response", (), {"spikes": (np.array([engine == "numba"]),)})

    skipped = []
    monkeypatch.setattr(benchmark_time, "Circuit", Circuit)
    assert list(benchmark_time.compare_brian2(tiny(2), True, skipped)) == []
    monkeypatch.setattr(benchmark_time, "learn_epoch", lambda X, start, lam: start[:, ::-1])
    X = np.random.default_rng(2).random((500, 16)).astype(np.float32)
    assert list(benchmark_time.learn_suite(tiny(), X, True, skipped)) == []
    assert [item["peer"] for item in skipped] == ["Brian2", "MiniBatchDictionaryLearning"]


@pytest.mark.parametrize(
    ("shape", "quick"), [((256, 784), False), ((256, 784), True), ((9, 4), False)]
)
def test_suites_are_told_apart_and_targets_are_official(small, monkeypatch, shape, quick):
    for suite in benchmark.SUITES:
        row = Row(suite, "m", Quartiles(6.0, 6.0, 6.0, 1), target=">= 5", met=True)
        monkeypatch.setattr(benchmark, f"{suite}_suite", lambda *_, row=row: iter([row]))
    problem = LassoProblem(np.ones((2, shape[1])), np.ones(shape), 0.1)
    monkeypatch.setattr(benchmark, "make_problem", lambda train, test, n: problem)
    found = run_benchmark(quick=quick)
    assert [row["suite"] for row in found["rows"]] == list(benchmark.SUITES)
    official = shape == (256, 784) and not quick
    assert {(row["target"], row["met"]) for row in found["rows"]} == {
        (">= 5", True) if official else ("", None)
    }
