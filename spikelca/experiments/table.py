"""Table I: accuracy of three classifiers on raw pixels and on each code.

Protocol: at test time only the handwritten image is observed, without drivers. Training and test
codes are computed in the same way. lam, C and gamma are chosen by cross-validation on training
images. The test labels are used once, to compute the accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
from tqdm import tqdm

from spikelca.estimators import LinkedLCA
from spikelca.experiments.linked import (
    KINDS,
    LinkedData,
    block_readout_accuracy,
    choose_thresholds,
    encode_with_leakage,
    fit_kind,
    recall_accuracy,
)
from spikelca.experiments.scoring import (
    LINEAR_SVM,
    LOGISTIC,
    RBF_SVM,
    ClassifierSpec,
    Score,
    score,
)
from spikelca.experiments.settings import HANDWRITTEN, Settings
from spikelca.metrics import relative_gap
from spikelca.utils.system import map_two_threads
from spikelca.utils.validation import FloatArray

CLASSIFIERS = (LOGISTIC, LINEAR_SVM, RBF_SVM)


@dataclass(frozen=True)
class Row:
    """Result of one code and one seed.

    Attributes
    ----------
    name : str
        Name of the code.
    seed : int
        Seed of the dictionary.
    lr, svm_linear, svm_rbf : float
        Test accuracy of each classifier.
    active : float or None
        Mean number of active neurons of the test codes; None for raw pixels.
    gap : float or None
        Largest relative duality gap of the test codes (mean for spiking codes); None for raw
        pixels.
    threshold : float or None
        Threshold lam of the neurons.
    constants : dict
        Chosen constants of each classifier.
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
    """All rows of Table I, and the accuracies that need no classifier."""

    rows: tuple[Row, ...]
    recall: dict[str, list[float]]
    block_readout: list[float]
    models: dict[str, LinkedLCA] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the entries of ``results.json``."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "recall": {name: float(np.mean(values)) for name, values in self.recall.items()},
            "block_readout": float(np.mean(self.block_readout)) if self.block_readout else None,
            "recall_of_each_seed": self.recall,
            "block_readout_of_each_seed": self.block_readout,
        }


@dataclass(frozen=True, eq=False)
class CodeSet:
    """Codes of the training and test images."""

    name: str
    seed: int
    train: FloatArray
    test: FloatArray
    active: float | None = None
    gap: float | None = None
    threshold: float | None = None


def make_table(
    data: LinkedData,
    settings: Settings,
    seeds: Sequence[int],
    *,
    spiking: bool = True,
    leaky: bool = False,
    log: Callable[[str], None] = tqdm.write,
    keep: Callable[[str, LinkedLCA], None] | None = None,
) -> Table:
    """Learn, encode and score everything.

    Parameters
    ----------
    data : LinkedData
        Images and printed digits.
    settings : Settings
        Settings of the experiment.
    seeds : sequence of int
        Seeds of the dictionaries. lam, C and gamma are chosen with the first seed; raw pixels are
        scored once.
    spiking : bool, default=True
        Whether to score spike-rate codes of the first seed's dictionaries, too.
    leaky : bool, default=False
        Whether to score codes of the first seed that contain the printed digit, too, to show the
        effect of label leakage.
    log : callable
        Function that prints progress (default: above the progress bars).
    keep : callable, optional
        Function that receives the kind and the estimator of each dictionary of the first seed as
        soon as it is learned.

    Returns
    -------
    Table
    """
    if len(settings.thresholds) > 1:
        log("choosing lambda by cross-validation on training images")
    thresholds = choose_thresholds(KINDS, data, settings, seeds[0])
    for kind, threshold in thresholds.items():
        log(f"lambda of the {kind} dictionary: {threshold:g}")
    recalls: dict[str, list[float]] = {"linked": [], "ordinal": []}
    blocks: list[float] = []
    models: dict[str, LinkedLCA] = {}
    code_sets: list[CodeSet] = [CodeSet("raw", seeds[0], data.images.X_train, data.images.X_test)]
    jobs = list(product(seeds, KINDS))

    def fit_one(seed: int, kind: str) -> LinkedLCA:
        log(f"seed {seed}: learning the {kind} dictionary")
        return fit_kind(kind, data, settings, thresholds[kind], seed)

    for (seed, kind), model in zip(jobs, map_two_threads(fit_one, jobs), strict=True):
        is_first = kind not in models
        models.setdefault(kind, model)
        if is_first and keep is not None:
            keep(kind, model)
        code_sets.extend(
            _make_code_sets(kind, seed, model, data, spiking and is_first, leaky and is_first)
        )
        test = next(codes.test for codes in code_sets if (codes.name, codes.seed) == (kind, seed))
        if kind != "single":
            recalls[kind].append(recall_accuracy(model, test, data))
        if kind == "ordinal":
            blocks.append(block_readout_accuracy(model, test, data.images.y_test))
    log(f"scoring {len(code_sets)} codes with {len(CLASSIFIERS)} classifiers each")
    rows = _score_all(code_sets, data, settings)
    return Table(tuple(rows), recalls, blocks, models)


def _make_code_sets(
    kind: str, seed: int, model: LinkedLCA, data: LinkedData, spiking: bool, leaky: bool
) -> Iterator[CodeSet]:
    test = model.transform(data.test)
    yield CodeSet(
        kind,
        seed,
        model.transform(data.train),
        test,
        float(np.count_nonzero(test, axis=1).mean()),
        _max_gap(model, test, data.test),
        model.threshold_,
    )
    if kind == "single":
        return
    if spiking:
        yield _spiking_codes(f"{kind}-spiking", seed, model, data)
    if leaky:
        train, test = (encode_with_leakage(model, data, subset) for subset in ("train", "test"))
        yield CodeSet(f"{kind}-LEAKY", seed, train, test, threshold=model.threshold_)


def _spiking_codes(name: str, seed: int, model: LinkedLCA, data: LinkedData) -> CodeSet:
    from sklearn.base import clone

    spiking = clone(model).set_params(neuron="spiking")
    for attribute in ("circuit_", "n_features_in_", "largest_norms_"):
        setattr(spiking, attribute, getattr(model, attribute))
    train, test = spiking.transform(data.train), spiking.transform(data.test)
    active = float(np.count_nonzero(test, axis=1).mean())
    gap = _mean_gap(model, test, data.test)
    return CodeSet(name, seed, train, test, active, gap, model.threshold_)


def _compute_gaps(model: LinkedLCA, codes: FloatArray, X: FloatArray) -> FloatArray | None:
    circuit = model.circuit_.without_drivers().observe(HANDWRITTEN)
    if model.transfer != "soft":
        return None
    power = np.einsum("ij,ij->i", X, X, dtype=np.float64)
    drive = X @ circuit.dictionaries[0].atoms.T
    return relative_gap(circuit.transfer, drive, circuit.gram, codes, power)  # type: ignore[arg-type]


def _max_gap(model: LinkedLCA, codes: FloatArray, X: FloatArray) -> float | None:
    gaps = _compute_gaps(model, codes, X)
    return None if gaps is None else float(gaps.max())


def _mean_gap(model: LinkedLCA, codes: FloatArray, X: FloatArray) -> float | None:
    gaps = _compute_gaps(model, codes, X)
    return None if gaps is None else float(gaps.mean())


def _score_all(code_sets: Sequence[CodeSet], data: LinkedData, settings: Settings) -> list[Row]:
    """Score every code with every classifier, two at a time as the solvers release the GIL."""
    y_train, y_test = data.images.y_train, data.images.y_test
    constants: dict[tuple[str, str], Any] = {}

    def score_one(codes: CodeSet, classifier: ClassifierSpec) -> Score:
        chosen = constants.get((codes.name, classifier.name))
        n_tuning = settings.tuning_samples
        grid = classifier.grid[: settings.n_constants]
        return score(
            replace(classifier, grid=grid),
            codes.train,
            y_train,
            codes.test,
            y_test,
            n_tuning,
            codes.seed,
            chosen,
        )

    # C and gamma of a code are chosen with its first seed, as lam is, and reused for the others. In
    # each round the slowest fits come first, so that none runs alone at the end.
    first_seed = code_sets[0].seed
    rounds = [
        [codes for codes in code_sets if codes.seed == first_seed],
        [codes for codes in code_sets if codes.seed != first_seed],
    ]
    scores: dict[tuple[str, int, str], Score] = {}
    n_fits = len(CLASSIFIERS) * len(code_sets)
    with tqdm(total=n_fits, desc="score", unit="fit", leave=False, disable=None) as bar:
        for selected in rounds:
            jobs = [(codes, spec) for spec in reversed(CLASSIFIERS) for codes in selected]
            for (codes, spec), result in zip(jobs, map_two_threads(score_one, jobs), strict=True):
                scores[codes.name, codes.seed, spec.name] = result
                bar.update()
            constants |= {(name, kind): s.constants for (name, _, kind), s in scores.items()}
    return [_make_row(codes, scores) for codes in code_sets]


def _make_row(codes: CodeSet, scores: dict[tuple[str, int, str], Score]) -> Row:
    by_classifier = {c.name: scores[codes.name, codes.seed, c.name] for c in CLASSIFIERS}
    return Row(
        codes.name,
        codes.seed,
        by_classifier["lr"].accuracy,
        by_classifier["svm_linear"].accuracy,
        by_classifier["svm_rbf"].accuracy,
        codes.active,
        codes.gap,
        codes.threshold,
        {name: dict(value.constants) for name, value in by_classifier.items()},
    )
