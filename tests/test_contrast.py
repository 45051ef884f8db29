"""Contrastive learning: Eq. 4 for kappa = 0, the gradient of the error for a weak clamp."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import normalize

from spikelca import (
    Circuit,
    Contrast,
    Dictionary,
    Hebbian,
    LinkedLCA,
    OrdinalDriver,
    RateNeuron,
    SoftThreshold,
    load,
    save,
)
from spikelca.circuit.batch_statistics import make_statistics
from spikelca.datasets import load_images
from spikelca.learning import learn
from spikelca.learning.contrast import contrastive_step, free_phase_code

TOL = 1e-12


def unit(shape, seed):
    return normalize(np.random.default_rng(seed).random(shape))


def linked(weight=0.5, drivers=(), n_neurons=6, seed=0):
    """Eight written and four printed inputs; written atoms of unit norm, printed ones short."""
    pairs = [
        Dictionary("written", unit((n_neurons, 8), seed)),
        Dictionary("printed", 0.8 * unit((n_neurons, 4), seed + 1), weight),
    ]
    return Circuit(RateNeuron(), SoftThreshold(0.05), pairs, drivers)


def step(circuit, x, clamped, free, observed, contrast):
    """One contrastive step on codes."""
    sums = [make_statistics(circuit.dictionaries, x, code).sums for code in (clamped, free)]
    return contrastive_step(circuit, *sums, observed, contrast)


def recall_error(atoms, circuit, x, p):
    """``1/2 |p - Phi_p a|^2`` with the code of the written input alone."""
    seen = Circuit(RateNeuron(), circuit.transfer, [Dictionary("written", atoms)])
    code = seen.encode({"written": x}, TOL).code
    return 0.5 * ((p - code @ circuit.dictionary("printed").atoms) ** 2).sum()


def test_weak_clamp_descends_reconstruction_error():
    x, p, weak = unit((1, 8), 2), unit((1, 4), 3), 1e-5
    circuit = linked(weak)
    atoms = circuit.dictionary("written").atoms
    slope, eps = np.zeros_like(atoms), 1e-6
    for index in np.ndindex(atoms.shape):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved[index] += sign * eps
            ends.append(recall_error(moved, circuit, x, p))
        slope[index] = (ends[0] - ends[1]) / (2 * eps)
    shown = {"written": x, "printed": p}
    clamped = circuit.encode(shown, TOL).code
    free = circuit.observe("written").encode({"written": x}, TOL).code
    assert 2 <= np.count_nonzero(free) < 6
    change = sum(sign * code.T @ (x - code @ atoms) for sign, code in ((1, clamped), (-1, free)))
    np.testing.assert_allclose(change / weak, -slope, rtol=1e-3, atol=1e-6 * np.abs(slope).max())


def test_step_without_free_phase_is_equation_four():
    x = {"written": unit((20, 8), 2), "printed": unit((20, 4), 3)}
    driver = OrdinalDriver(2, excitation=0.01, inhibition=0.05)
    circuit = linked(drivers=[driver])
    labels = np.arange(20) % 2
    clamped = circuit.encode(x, TOL, labels=labels).code
    free = free_phase_code(circuit, x, ("written", "printed"), TOL, "numba")
    hebb = circuit.learn_step(x, clamped)
    found = step(circuit, x, clamped, free, ("written", "printed"), Contrast(kappa=0.0))
    for name in circuit.widths:
        wanted = hebb.dictionary(name).atoms
        np.testing.assert_allclose(found.dictionary(name).atoms, wanted, atol=1e-14)


def test_observed_atoms_rest_where_phases_agree():
    x = {"written": unit((20, 8), 2), "printed": unit((20, 4), 3)}
    circuit = linked()
    free = free_phase_code(circuit, x, ("written",), TOL, "numba")
    found = step(circuit, x, free, free, ("written",), Contrast(kappa=1.0, recall_rate=1.0))
    before, after = (normalize(c.dictionary("written").atoms) for c in (circuit, found))
    np.testing.assert_allclose(after, before, atol=1e-14)
    moved = found.dictionary("printed").atoms - circuit.dictionary("printed").atoms
    assert np.abs(moved).max() > 1e-3  # what is recalled learns from the error of the recall


def test_fixed_synapses_stay_and_norms_are_one():
    x = {"written": unit((20, 8), 2), "printed": unit((20, 4), 3)}
    written, printed = linked(1.0).dictionaries
    fixed = Circuit(
        RateNeuron(),
        SoftThreshold(0.05),
        [
            Dictionary("written", 0.6 * written.atoms),
            Dictionary("printed", printed.atoms, 1.0, None),
        ],
    )
    code = fixed.encode(x).code
    free = free_phase_code(fixed, x, ("written",), 1e-4, "numba")
    found = step(fixed, x, code, free, ("written",), Contrast())
    assert np.array_equal(found.dictionary("printed").atoms, printed.atoms)
    norms = np.sqrt(sum((d.atoms**2).sum(axis=1) for d in found.dictionaries))
    np.testing.assert_allclose(norms, 1.0, atol=1e-12)


# ---------------------------------------------------------------------- over a whole learning


def digits():
    images = load_images("digits")
    one_hot = np.eye(10)
    X, X_test = normalize(images.X_train), normalize(images.X_test)
    return X, one_hot[images.y_train], images.y_train, X_test, images.y_test


def fitted(contrast, driver=None, **more):
    X, label, y, _, _ = digits()
    model = LinkedLCA(
        60, {"pixels": 64, "label": 10}, observe="pixels", threshold=0.05, driver=driver,
        n_epochs=10, batch_size=100, contrast=contrast, random_state=0, **more,
    )  # fmt: skip
    return model.fit(np.hstack([X, label]), y)


def test_contrast_lowers_reconstruction_error_on_test_digits():
    _, _, _, X_test, y_test = digits()
    driver, error = OrdinalDriver(inhibition=0.05, excitation=0.0), {}
    for name, contrast in (("plain", None), ("contrast", Contrast())):
        recalled = fitted(contrast, driver).translate(X_test, to="label")
        error[name] = ((recalled - np.eye(10)[y_test]) ** 2).sum(axis=1).mean()
    assert error["contrast"] < 0.95 * error["plain"]


def test_run_resumed_within_contrast_is_bit_identical(tmp_path):
    X, label, y, _, _ = digits()
    Z = np.hstack([X, label])[:300]

    def model():
        return LinkedLCA(20, {"pixels": 64, "label": 10}, observe="pixels", n_epochs=4,
                         batch_size=50, random_state=0,
                         contrast=Contrast(fraction=0.5))  # fmt: skip

    whole = model().fit(Z, y[:300])
    path, part = tmp_path / "mark", model()

    class Stop(KeyboardInterrupt):
        pass

    run = part._learn_batches

    def until_seventeen(*arguments):
        for circuit, progress in run(*arguments):
            yield circuit, progress
            if progress.batch == 17:
                raise Stop

    part._learn_batches = until_seventeen
    with pytest.raises(Stop):
        part.fit(Z, y[:300], checkpoint=path)
    resumed = model().fit(Z, y[:300], checkpoint=path, resume=True)
    assert np.array_equal(resumed.components_, whole.components_)
    other = model().set_params(observe="label")
    with pytest.raises(ValueError, match="observe"):
        other.fit(Z, y[:300], checkpoint=path, resume=True)


def test_estimator_with_contrast_is_saved_and_loaded(tmp_path):
    model = fitted(Contrast(kappa=0.9, fraction=0.5, rate=0.5))
    save(model, tmp_path / "model.spikelca")
    assert load(tmp_path / "model.spikelca").contrast == Contrast(0.9, 0.5, 0.5)


# ---------------------------------------------------------------- validation


@pytest.mark.parametrize(
    "wrong",
    [
        {"kappa": 1.1},
        {"kappa": np.nan},
        {"fraction": 0.0},
        {"fraction": 2.0},
        {"rate": 0.0},
        {"recall_rate": -1},
    ],
)
def test_contrast_out_of_range_is_rejected(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Contrast(**wrong)


def test_contrast_with_identical_phases_is_rejected():
    X = unit((30, 8), 0)
    with pytest.raises(ValueError, match="unobserved modality or a driver"):
        LinkedLCA(5, contrast=Contrast()).fit(X)


def test_contrast_without_the_length_of_the_run_is_rejected():
    batches = [({"written": unit((5, 8), 1), "printed": unit((5, 8), 2)}, None)]
    with pytest.raises(ValueError, match="n_batches must be given with contrast"):
        list(learn(linked(), batches, contrast=Contrast(), observe=("written",)))


def test_batch_without_all_modalities_is_rejected():
    circuit = linked()
    batches = [({"written": unit((5, 8), 1)}, None)]
    contrast = Contrast(fraction=1.0)
    with pytest.raises(ValueError, match="all modalities"):
        list(learn(circuit, batches, n_batches=1, contrast=contrast, observe=["written"]))


def test_each_modality_has_its_own_rate():
    x = {"written": unit((20, 8), 2), "printed": unit((20, 4), 3)}
    parts = [Dictionary(d.name, d.atoms, d.weight, Hebbian(r)) for d, r in
             zip(linked().dictionaries, (1e-12, 0.5), strict=True)]  # fmt: skip
    circuit = Circuit(RateNeuron(), SoftThreshold(0.05), parts)
    code = circuit.encode(x).code
    found = step(
        circuit,
        x,
        code,
        free_phase_code(circuit, x, ("written",), 1e-4, "numba"),
        ("written",),
        Contrast(),
    )
    before, after = (normalize(c.dictionary("written").atoms) for c in (circuit, found))
    np.testing.assert_allclose(after, before, atol=1e-9)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 1.0])
def test_contrast_rate_falls_linearly_over_its_share(fraction):
    contrast, left = Contrast(fraction=fraction), np.linspace(0.99, 0.0, 12)
    found = [contrast.strength(1 - fraction * part) for part in left]
    np.testing.assert_allclose(found, left, atol=1e-12)
    assert fraction == 1 or contrast.strength(0.999 * (1 - fraction)) == 0


def test_usage_decays_with_the_longest_memory():
    x = {"written": unit((20, 8), 2), "printed": unit((20, 4), 3)}
    parts = [Dictionary(d.name, d.atoms, d.weight, Hebbian(decay=m)) for d, m in
             zip(linked().dictionaries, (0.25, 0.5), strict=True)]  # fmt: skip
    circuit = Circuit(RateNeuron(), SoftThreshold(0.05), parts)
    code = circuit.encode(x).code
    once = circuit.learn_step(x, code)
    free = free_phase_code(circuit, x, ("written",), 1e-4, "numba")
    for twice in (once.learn_step(x, code), step(once, x, code, free, ("written",), Contrast())):
        np.testing.assert_allclose(twice.plasticity.usage, 1.5 * once.plasticity.usage)


def test_contrast_on_workers_raises_before_training():
    array = pytest.importorskip("dask.array", reason="needs dask")
    X, label, y, _, _ = digits()
    Z = array.from_array(np.hstack([X, label])[:100], chunks=(50, -1))
    model = LinkedLCA(5, {"pixels": 64, "label": 10}, observe="pixels", contrast=Contrast())
    with pytest.raises(NotImplementedError, match="Use contrast=None"):
        model.fit(Z, y[:100])
    assert not hasattr(model, "circuit_")


def test_sparse_codes_of_dask_array_are_rejected():
    array = pytest.importorskip("dask.array", reason="needs dask")
    X = digits()[0][:100]
    model = LinkedLCA(5, threshold=0.05, sparse_output=True, random_state=0).fit(X)
    with pytest.raises(ValueError, match="sparse_output must be False"):
        model.transform(array.from_array(X, chunks=(50, -1)))
