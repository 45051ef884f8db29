"""Bad input gets one clear error (found, awaited, what to do) and changes nothing; odd but good
input is taken as what it means."""

from __future__ import annotations

import datetime
import warnings

import numpy as np
import pytest
import scipy.sparse

from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold, SpikingNeuron
from spikelca.utils.validation import check_labels, check_matrix, to_positive_seconds, to_seconds


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture
def circuit(dtype):
    rng = np.random.default_rng(0)
    parts = {name: rng.random((6, width)).astype(dtype) for name, width in WIDTHS.items()}
    dictionaries = [Dictionary(name, atoms) for name, atoms in parts.items()]
    return Circuit(RateNeuron(), SoftThreshold(0.1), dictionaries)


WIDTHS = {"mnist": 4, "arial": 3}


def good(**changed):
    rng = np.random.default_rng(1)
    return {name: rng.random((5, width)) for name, width in WIDTHS.items()} | changed


def with_value(value, place=(3, 1)):
    X = good()["mnist"]
    X[place] = value
    return X


VERBS = {
    "encode": lambda circuit, stimuli: circuit.encode(stimuli),
    "encode by the reference": lambda circuit, stimuli: circuit.encode(stimuli, engine="reference"),
    "drive": lambda circuit, stimuli: circuit.drive(stimuli),
    "energy": lambda circuit, stimuli: circuit.energy(stimuli, np.zeros((5, 6))),
    "learn": lambda circuit, stimuli: circuit.learn(stimuli, np.zeros((5, 6))),
    "simulate": lambda circuit, stimuli: circuit.simulate(stimuli, 0.01, engine="reference"),
}

BAD = {
    "NaN": (good(mnist=with_value(np.nan)), r"'mnist' contains NaN at index \(3, 1\) \(1 such"),
    "infinity": (good(mnist=with_value(np.inf)), r"contains infinity at index \(3, 1\)"),
    "minus infinity": (good(mnist=with_value(-np.inf)), r"contains infinity at index \(3, 1\)"),
    "both infinities": (
        good(mnist=with_value(np.inf) - with_value(np.inf, (0, 0))),
        r"contains NaN at index \(0, 0\)|contains infinity at index \(0, 0\)",
    ),
    "overlarge": (good(mnist=with_value(1e300)), r"at index \(3, 1\).*scale the data"),
    "no samples": ({"mnist": np.zeros((0, 4))}, "'mnist' is empty"),
    "no columns": ({"mnist": np.zeros((5, 0))}, "'mnist' has 0 columns; 4 were awaited"),
    "too wide": (good(mnist=np.ones((5, 7))), "'mnist' has 7 columns; 4 were awaited"),
    "too narrow": (good(arial=np.ones((5, 1))), "'arial' has 1 columns; 3 were awaited"),
    "swapped": (
        {"mnist": good()["arial"], "arial": good()["mnist"]},
        "'mnist' has 3 columns; 4 were awaited",
    ),
    "rows do not match": (good(arial=np.ones((4, 3))), r"\{'mnist': 5, 'arial': 4\}"),
    "unknown modality": (good(emnist=np.ones((5, 4))), r"\['emnist'\] is unknown"),
    "nothing": ({}, r"at least one out of \['mnist', 'arial'\]"),
    "one sample as a vector": (good(mnist=np.ones(4)), r"\.reshape\(1, -1\)"),
    "a stack of images": (good(mnist=np.ones((5, 2, 2))), "a 2D array"),
    "a number": (good(mnist=1.0), "a 2D array"),
    "complex": (good(mnist=np.ones((5, 4)) * 1j), "Complex data not supported"),
    "objects": (good(mnist=np.array([[object()] * 4] * 5)), "no numbers"),
    "missing values": (good(mnist=with_value(None).astype(object)), r"NaN at index \(3, 1\)"),
    "words": (good(mnist=np.array([["1"] * 4] * 5)), "real numbers were awaited"),
    "dates": (good(mnist=np.full((5, 4), datetime.date(2020, 1, 1), "M8[D]")), "real numbers"),
    "sparse": (good(mnist=scipy.sparse.csr_array(np.ones((5, 4)))), r"toarray\(\)"),
    "sparse matrix": (good(mnist=scipy.sparse.coo_matrix(np.ones((5, 4)))), r"toarray\(\)"),
    "an array without names": (np.ones((5, 4)), "a mapping from modality to array"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", BAD)
def test_bad_stimuli_get_one_clear_error_and_change_nothing(circuit, verb, case):
    stimuli, message = BAD[case]
    atoms = [d.atoms.copy() for d in circuit.dictionaries]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((ValueError, TypeError), match=message):
            VERBS[verb](circuit, stimuli)
    for d, before in zip(circuit.dictionaries, atoms, strict=True):
        np.testing.assert_array_equal(d.atoms, before)
    assert not circuit.plasticity.usage.any()
    assert not circuit.plasticity.silent.any()


def test_the_index_of_a_bad_value_is_that_of_the_whole_array_not_of_a_chunk(circuit):
    X = np.zeros((5000, 4))
    X[4500, 2] = np.nan
    with pytest.raises(ValueError, match=r"NaN at index \(4500, 2\)"):
        circuit.encode({"mnist": X})


@pytest.mark.filterwarnings("ignore:.*did not settle")  # the certificate, too, has its limits
def test_values_that_the_precision_cannot_square_are_refused_and_others_are_not():
    for dtype, largest in ((np.float32, 1e16), (np.float64, 1e150)):
        circuit = Circuit(
            RateNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2, dtype=dtype))]
        )
        code = circuit.encode({"x": [[largest, 1.0]]}).code
        np.testing.assert_allclose(code, [[largest, 0.9]], rtol=1e-6)
        for engine in ("numba", "reference"):
            with pytest.raises(ValueError, match="scale the data"):
                circuit.encode({"x": [[1e4 * largest, 1.0]]}, engine=engine)


OTHER_FORMS = {
    "float16": lambda X: X.astype(np.float16),
    "int": lambda X: X.astype(int),
    "uint8": lambda X: X.astype(np.uint8),
    "bool": lambda X: X.astype(bool),
    "object": lambda X: X.astype(object),
    "long double": lambda X: X.astype(np.longdouble),
    "list": lambda X: X.tolist(),
    "Fortran order": np.asfortranarray,
    "strided": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "reversed": lambda X: X[::-1].copy()[::-1],
    "byteswapped": lambda X: X.astype(X.dtype.newbyteorder()),
}


@pytest.mark.parametrize("form", OTHER_FORMS)
@pytest.mark.parametrize("engine", ["numba", "reference"])
def test_a_stimulus_means_the_same_in_every_form(circuit, dtype, engine, form):
    X = np.random.default_rng(0).integers(0, 2, (5, 4)).astype(dtype)
    X[0] = 1
    plain = circuit.encode({"mnist": X}, engine=engine)
    other = circuit.encode({"mnist": OTHER_FORMS[form](X)}, engine=engine)
    assert other.code.dtype == dtype
    np.testing.assert_array_equal(other.code, plain.code)


def test_read_only_stimuli_and_memory_maps_are_read_and_left_as_they_are(circuit, dtype, tmp_path):
    X = np.random.default_rng(0).random((5, 4)).astype(dtype)
    plain = circuit.encode({"mnist": X}).code
    np.save(tmp_path / "X.npy", X)
    for mode in ("r", "r+", "c"):
        mapped = np.load(tmp_path / "X.npy", mmap_mode=mode)
        np.testing.assert_array_equal(circuit.encode({"mnist": mapped}).code, plain)
        np.testing.assert_array_equal(mapped, X)
    X.setflags(write=False)
    np.testing.assert_array_equal(circuit.encode({"mnist": X}).code, plain)


@pytest.mark.parametrize(
    ("form", "kept"),
    [
        (np.float32, np.float32),
        (np.float64, np.float64),
        (">f4", np.float32),
        (">f8", np.float64),
        (np.float16, np.float32),
        (np.longdouble, np.float64),
        (np.int32, np.float64),
        (np.uint8, np.float64),
        (bool, np.float64),
        (object, np.float64),
    ],
)
def test_atoms_keep_their_precision_or_take_the_next_one(form, kept):
    atoms = Dictionary("x", np.asfortranarray(np.eye(3, 4).astype(form))).atoms
    assert atoms.dtype == kept
    assert atoms.dtype.isnative
    assert atoms.flags.c_contiguous
    np.testing.assert_array_equal(atoms, np.eye(3, 4))


@pytest.mark.parametrize(
    "atoms",
    [
        [[1.0, np.nan]],
        [[1.0, np.inf]],
        [1.0, 2.0],
        np.zeros((0, 3)),
        [[1j, 0]],
        [["a", "b"]],
        [[1e300, 0]],
    ],
)
def test_atoms_that_are_no_finite_matrix_are_refused_by_name(atoms):
    with pytest.raises(ValueError, match="atoms of 'x'"):
        Dictionary("x", atoms)


@pytest.mark.parametrize("tol", [0, -1e-3, np.nan, np.inf])
def test_a_tolerance_must_be_finite_and_above_zero(circuit, tol):
    with pytest.raises(ValueError, match="tol is"):
        circuit.encode(good(), tol)


@pytest.mark.parametrize("max_iter", [0, -1, 1.5, np.nan, None])
@pytest.mark.parametrize("engine", ["numba", "reference"])
def test_a_number_of_rounds_below_one_is_refused_and_not_a_silent_zero_code(
    circuit, max_iter, engine
):
    with pytest.raises(ValueError, match="max_iter is"):
        circuit.encode(good(), max_iter=max_iter, engine=engine)


@pytest.mark.parametrize(
    "start", [np.ones((4, 6)), np.ones((1, 6)), np.ones((5, 5)), np.full((5, 6), np.nan)]
)
def test_a_start_that_does_not_fit_is_refused(circuit, start):
    with pytest.raises(ValueError, match="start "):
        circuit.encode(good(), start=start)


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1, 2, 10, 3],
        [0, 1, 2, -1, 3],
        [0, 1, 2, 2.5, 3],
        [0, 1, 2, np.nan, 3],
        [0, 1, 2, np.inf, 3],
        ["0", "1", "2", "3", "4"],
        [0, 1, 2, 3],
        [[0], [1], [2], [3], [4]],
        [0, 1, 2, 1j, 3],
        [0, 1, 2, None, 3],
    ],
)
def test_labels_that_name_no_class_are_refused(labels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="label"):
            check_labels(labels, 5, 10)


@pytest.mark.parametrize("form", [int, np.uint8, float, np.float32, object])
def test_labels_may_be_numbers_of_any_kind(form):
    labels = check_labels(np.array([0, 9, 3]).astype(form), 3, 10)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, [0, 9, 3])


def test_times_are_seconds_or_quantities_of_brian():
    from brian2 import Hz, ms, mV, second

    assert to_seconds(0.5, "dt") == 0.5
    assert to_seconds(10 * ms, "dt") == 10 / 1000
    assert RateNeuron(tau=20 * ms) == RateNeuron(tau=0.02)
    assert SpikingNeuron(tau=1 * second).tau == 1
    for wrong in (3 * Hz, 3 * mV):
        with pytest.raises(ValueError, match="a time in seconds was awaited"):
            to_seconds(wrong, "dt")


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf])
def test_times_are_finite_and_above_zero(circuit, value):
    with pytest.raises(ValueError, match="dt is"):
        to_positive_seconds(value, "dt")
    with pytest.raises(ValueError, match="tau is"):
        RateNeuron(tau=value)
    with pytest.raises(ValueError, match="duration is"):
        circuit.simulate(good(), value, engine="reference")
    with pytest.raises(ValueError, match="dt is"):
        circuit.simulate(good(), 0.1, value, engine="reference")


def test_a_step_beyond_the_stability_limit_is_refused_with_the_limit(circuit):
    limit = 2 / np.linalg.eigvalsh(circuit.gram)[-1] * circuit.neuron.tau
    with pytest.raises(ValueError, match=r"below .* forward Euler is certainly stable"):
        circuit.simulate(good(), 1.0, limit * 1.001, engine="reference")
    circuit.simulate(good(), 10 * limit, 0.99 * limit, engine="reference")


def test_a_simulation_shorter_than_a_step_is_refused(circuit):
    with pytest.raises(ValueError, match="shorter than one step"):
        circuit.simulate(good(), 1e-9, 1e-6, engine="reference")


@pytest.mark.parametrize("neurons", [[6], [-1], [0.5], ["a"], [[0]]])
def test_neurons_to_be_recorded_must_exist(circuit, neurons):
    with pytest.raises(ValueError, match="neurons "):
        circuit.simulate(good(), 0.01, record=("u",), neurons=neurons, engine="reference")


@pytest.mark.parametrize("parts", [{"wiring": "diagonal"}])
def test_a_wiring_that_does_not_exist_is_refused(circuit, parts):
    with pytest.raises(ValueError, match="wiring is"):
        Circuit(circuit.neuron, circuit.transfer, circuit.dictionaries, **parts)


def test_unknown_modalities_and_engines_are_refused_by_name(circuit):
    for ask in (circuit.dictionary, circuit.observe):
        with pytest.raises(ValueError, match=r"'emnist'; one of \['mnist', 'arial'\]"):
            ask("emnist")
    with pytest.raises(ValueError, match="at least one of"):
        circuit.observe()
    with pytest.raises(ValueError, match=r"engine is 'numpy'; one of \["):
        circuit.encode(good(), engine="numpy")
    with pytest.raises(ValueError, match=r"'emnist'; one of \['mnist', 'arial'\]"):
        circuit.reconstruct(np.zeros((1, 6)), "emnist")
    with pytest.raises(ValueError, match="code has 5 columns; 6 were awaited"):
        circuit.reconstruct(np.zeros((1, 5)), "mnist")


def test_masked_values_are_refused():
    X = np.ma.masked_equal(np.array([[1.0, 2.0]]), 2.0)
    with pytest.raises(ValueError, match="masked values"):
        check_matrix(X, "X")
    assert check_matrix(np.ma.masked_equal(np.array([[1.0]]), 2.0), "X").shape == (1, 1)
