"""Table I: three classifiers on raw pixels and on each code.

Protocol. At test time the handwritten image is all that is seen and every driver is off. Training
and test codes are made in the same way. lam, C and gamma are chosen by cross-validation on training
images; the test labels are read once, to count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

import numpy as np

from spikelca.estimators import LinkedLCA
from spikelca.experiments.linked import (
    KINDS,
    LinkedData,
    block_readout_accuracy,
    choose_thresholds,
    fit_kind,
    leaky_codes,
    recall_accuracy,
)
from spikelca.experiments.scoring import LINEAR_SVM, LOGISTIC, RBF_SVM, Score, score
from spikelca.experiments.settings import HANDWRITTEN, Settings
from spikelca.metrics import relative_gap
from spikelca.utils.system import map_two_threads
from spikelca.utils.validation import FloatArray

CLASSIFIERS = (LOGISTIC, LINEAR_SVM, RBF_SVM)


@dataclass(frozen=True)
class Row:
    """One line of the table: a code, a seed, three accuracies.

    ``active`` is the mean number of active neurons, ``gap`` the largest relative duality gap of
    the test codes; both are None for raw pixels.
    """

    name: str
    seed: int
    lr: float
    svm_linear: float
    svm_rbf: float
    active: float | None = None
    gap: float | None = None
    threshold: float | None = None
    constants: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """All rows, and what the codes say without any classifier."""

    rows: tuple[Row, ...]
    recall: dict[str, list[float]]
    block_readout: list[float]
    models: dict[str, LinkedLCA] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The part of `results.json` that this table is."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "recall": {name: float(np.mean(values)) for name, values in self.recall.items()},
            "block_readout": float(np.mean(self.block_readout)) if self.block_readout else None,
            "recall_of_each_seed": self.recall,
            "block_readout_of_each_seed": self.block_readout,
        }


@dataclass(frozen=True, eq=False)
class CodeSet:
    """Codes of the training and test images, ready to be classified."""

    name: str
    seed: int
    train: FloatArray
    test: FloatArray
    active: float | None = None
    gap: float | None = None
    threshold: float | None = None


def make_table(
    material: LinkedData,
    settings: Settings,
    seeds: Sequence[int],
    *,
    spiking: bool = True,
    leaky: bool = False,
    say: Callable[[str], None] = print,
) -> Table:
    """Learn, encode and score everything.

    Parameters
    ----------
    material : Material
    settings : Settings
    seeds : sequence of int
        lam, C and gamma are chosen with the first seed; raw pixels are scored once.
    spiking : bool
        Also score spike-rate codes of the first seed's dictionaries.
    leaky : bool
        Also score codes of the first seed that were made with the printed digit in view, to show
        what that is worth.
    say : callable
        Hears what is being done.
    """
    if len(settings.thresholds) > 1:
        say("choosing lambda by cross-validation on training images")
    thresholds = choose_thresholds(KINDS, material, settings, seeds[0])
    for kind, threshold in thresholds.items():
        say(f"lambda of the {kind} dictionary: {threshold:g}")
    recalls: dict[str, list[float]] = {"linked": [], "ordinal": []}
    blocks: list[float] = []
    models: dict[str, LinkedLCA] = {}
    work: list[CodeSet] = [
        CodeSet("raw", seeds[0], material.images.X_train, material.images.X_test)
    ]
    jobs = list(product(seeds, KINDS))

    def learned(seed: int, kind: str) -> LinkedLCA:
        say(f"seed {seed}: learning the {kind} dictionary")
        return fit_kind(kind, material, settings, thresholds[kind], seed)

    for (seed, kind), model in zip(jobs, map_two_threads(learned, jobs), strict=True):
        models.setdefault(kind, model)
        extra = seed == seeds[0]
        work.extend(
            _make_code_sets(kind, seed, model, material, spiking and extra, leaky and extra)
        )
        test = next(codes.test for codes in work if (codes.name, codes.seed) == (kind, seed))
        if kind != "single":
            recalls[kind].append(recall_accuracy(model, test, material))
        if kind == "ordinal":
            blocks.append(block_readout_accuracy(model, test, material.images.y_test))
    say(f"scoring {len(work)} codes with {len(CLASSIFIERS)} classifiers each")
    rows = _score_all(work, material, settings)
    return Table(tuple(rows), recalls, blocks, models)


def _make_code_sets(
    kind: str, seed: int, model: LinkedLCA, material: LinkedData, spiking: bool, leaky: bool
) -> Iterator[CodeSet]:
    test = model.transform(material.test)
    yield CodeSet(
        kind,
        seed,
        model.transform(material.train),
        test,
        float(np.count_nonzero(test, axis=1).mean()),
        _worst_gap(model, test, material.test),
        model.threshold,
    )
    if kind == "single":
        return
    if spiking:
        yield _spiking_codes(f"{kind}-spiking", seed, model, material)
    if leaky:
        train, leaked = (leaky_codes(model, material, part) for part in ("train", "test"))
        yield CodeSet(f"{kind}-LEAKY", seed, train, leaked, threshold=model.threshold)


def _spiking_codes(name: str, seed: int, model: LinkedLCA, material: LinkedData) -> CodeSet:
    from sklearn.base import clone

    spiking = clone(model).set_params(neuron="spiking")
    for attribute in ("circuit_", "n_features_in_"):
        setattr(spiking, attribute, getattr(model, attribute))
    train, test = spiking.transform(material.train), spiking.transform(material.test)
    active = float(np.count_nonzero(test, axis=1).mean())
    gap = _mean_gap(model, test, material.test)
    return CodeSet(name, seed, train, test, active, gap, model.threshold)


def _gaps(model: LinkedLCA, codes: FloatArray, X: FloatArray) -> FloatArray | None:
    circuit = model.circuit_.without_drivers().observe(HANDWRITTEN)
    if model.transfer != "soft":
        return None
    power = np.einsum("ij,ij->i", X, X, dtype=np.float64)
    drive = X @ circuit.dictionaries[0].atoms.T
    return relative_gap(circuit.transfer, drive, circuit.gram, codes, power)  # type: ignore[arg-type]


def _worst_gap(model: LinkedLCA, codes: FloatArray, X: FloatArray) -> float | None:
    gaps = _gaps(model, codes, X)
    return None if gaps is None else float(gaps.max())


def _mean_gap(model: LinkedLCA, codes: FloatArray, X: FloatArray) -> float | None:
    gaps = _gaps(model, codes, X)
    return None if gaps is None else float(gaps.mean())


def _score_all(work: Sequence[CodeSet], material: LinkedData, settings: Settings) -> list[Row]:
    """Every code with every classifier, two at a time: the solvers release the GIL."""
    from tqdm import tqdm

    y_train, y_test = material.images.y_train, material.images.y_test
    constants: dict[tuple[str, str], Any] = {}

    def one(codes: CodeSet, candidate: Any) -> Score:
        known = constants.get((codes.name, candidate.name))
        n_tuning = settings.tuning_samples
        return score(
            candidate, codes.train, y_train, codes.test, y_test, n_tuning, codes.seed, known
        )

    # C and gamma of a code are chosen with its first seed, as lam is; then the others follow. In
    # each round the slowest come first, so that the last one does not run alone.
    first = [codes for codes in work if codes.seed == work[0].seed]
    rounds = [first, [codes for codes in work if codes.seed != work[0].seed]]
    scores: dict[tuple[str, int, str], Score] = {}
    n_fits = len(CLASSIFIERS) * len(work)
    with tqdm(total=n_fits, desc="score", unit="fit", leave=False, disable=None) as bar:
        for part in rounds:
            jobs = [(codes, candidate) for candidate in reversed(CLASSIFIERS) for codes in part]
            for (codes, candidate), found in zip(jobs, map_two_threads(one, jobs), strict=True):
                scores[codes.name, codes.seed, candidate.name] = found
                bar.update()
            constants |= {(name, kind): s.constants for (name, _, kind), s in scores.items()}
    return [_row(codes, scores) for codes in work]


def _row(codes: CodeSet, scores: dict[tuple[str, int, str], Score]) -> Row:
    own = {c.name: scores[codes.name, codes.seed, c.name] for c in CLASSIFIERS}
    return Row(
        codes.name,
        codes.seed,
        own["lr"].accuracy,
        own["svm_linear"].accuracy,
        own["svm_rbf"].accuracy,
        codes.active,
        codes.gap,
        codes.threshold,
        {name: dict(value.constants) for name, value in own.items()},
    )
