"""The benchmark: its rows, its words, and that no ratio is shown for another answer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from spikelca.experiments import benchmark, benchmark_encode
from spikelca.experiments.benchmark import format_benchmark, run_benchmark
from spikelca.experiments.benchmark_encode import Contest, gap_of, meet, objective_of, ours
from spikelca.experiments.benchmark_measure import Spread, agree, interleaved, judged
from spikelca.experiments.benchmark_peers import Lasso, numpy_fista, sklearn_lasso, spams_lasso
from spikelca.experiments.benchmark_spikes import spike_coder


def tiny(n_samples=30):
    rng = np.random.default_rng(0)
    atoms = rng.random((12, 16)).astype(np.float32)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    return Lasso(rng.random((n_samples, 16)).astype(np.float32), atoms, 0.2)


@pytest.mark.parametrize("maker", [sklearn_lasso, lambda p: numpy_fista(p, 2000), spams_lasso])
def test_every_peer_solves_the_same_problem(maker):
    problem = tiny()
    try:
        code = maker(problem)()
    except ImportError as error:
        pytest.skip(str(error))
    assert objective_of(problem, code) == pytest.approx(
        objective_of(problem, ours(problem, 1e-5)()), rel=1e-3
    )
    assert gap_of(problem, code) < 1e-2


def test_a_missing_peer_is_named_and_not_imitated():
    def absent(problem):
        raise ImportError("no module named nowhere")

    skipped = []
    assert list(meet(tiny(), Contest("Nowhere", absent, 10), 1, skipped)) == []
    assert skipped == [{"peer": "Nowhere", "why": "no module named nowhere"}]


def test_a_ratio_is_not_shown_for_another_objective():
    skipped = []
    wrong = Contest("Lazy", lambda p: lambda: np.zeros((len(p.X), len(p.atoms))), 10)
    assert list(meet(tiny(), wrong, 1, skipped)) == []
    assert "objectives differ" in skipped[0]["why"]


def test_rounds_are_interleaved_and_the_first_is_not_measured():
    calls = []
    tasks = {name: (lambda n=name: calls.append(n)) for name in "ab"}
    seconds = interleaved(tasks, 3)
    assert calls == ["a", "b"] * 4
    assert {name: len(s) for name, s in seconds.items()} == {"a": 3, "b": 3}


def test_targets_are_judged_in_their_direction():
    assert judged(6.0, ">= 5") is True
    assert judged(4.0, "<= 3.5") is False
    assert judged(4.0, "") is None
    assert agree({"a": 1.0, "b": 1.00001}, 1e-4)
    assert Spread.of(np.array([3.0, 1.0, 2.0])).median == 2.0


@pytest.fixture
def small(monkeypatch):
    problem = tiny()
    rows = np.random.default_rng(1).random((300, 16)).astype(np.float32)
    images = type("Images", (), {"name": "noise", "X_train": rows, "X_test": problem.X})
    monkeypatch.setattr(benchmark, "load_images", lambda data: images)
    monkeypatch.setattr(
        benchmark, "learned_problem", lambda train, test, n: Lasso(test, problem.atoms, 0.2)
    )
    monkeypatch.setattr(
        benchmark_encode, "contests", lambda quick: [Contest("scikit-learn", sklearn_lasso, 10)]
    )
    monkeypatch.setattr(benchmark_encode, "steps_to", lambda problem, maker, gap: 2000)


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
    problem = Lasso(unit.astype(np.float64), problem.atoms.astype(np.float64), 0.1)
    (whole,) = spike_coder(problem, "numba")()
    alone = spike_coder(problem, "numba", 1)()
    assert len(alone) == 5
    np.testing.assert_array_equal(np.vstack([r.code for r in alone]), whole.code)
