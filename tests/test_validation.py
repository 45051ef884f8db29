"""Validation: invalid input raises one clear error and changes nothing; valid forms are equal."""

from __future__ import annotations

import dataclasses
import datetime
import types
import warnings
from functools import partial

import numpy as np
import pytest
import scipy.sparse

from spikelca import (
    Circuit,
    CurrentDriver,
    Dictionary,
    Fade,
    Hebbian,
    OrdinalDriver,
    RateNeuron,
    SoftThreshold,
    SpikingNeuron,
)
from spikelca.model import PoissonInput, waveforms
from spikelca.utils.validation import check_labels, check_matrix, to_positive_seconds, to_seconds


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture
def circuit(dtype):
    rng = np.random.default_rng(0)
    atoms = {name: rng.random((6, width)).astype(dtype) for name, width in WIDTHS.items()}
    dictionaries = [Dictionary(name, phi) for name, phi in atoms.items()]
    return Circuit(RateNeuron(), SoftThreshold(0.1), dictionaries)


WIDTHS = {"mnist": 4, "arial": 3}


def valid_stimuli(**changed):
    rng = np.random.default_rng(1)
    return {name: rng.random((5, width)) for name, width in WIDTHS.items()} | changed


def with_value(value, index=(3, 1)):
    X = valid_stimuli()["mnist"]
    X[index] = value
    return X


METHODS = {
    "encode": lambda circuit, stimuli: circuit.encode(stimuli),
    "encode by the reference": lambda circuit, stimuli: circuit.encode(stimuli, engine="reference"),
    "drive": lambda circuit, stimuli: circuit.drive(stimuli),
    "energy": lambda circuit, stimuli: circuit.energy(stimuli, np.zeros((5, 6))),
    "learn": lambda circuit, stimuli: circuit.learn_step(stimuli, np.zeros((5, 6))),
    "simulate": lambda circuit, stimuli: circuit.simulate(stimuli, 0.01, engine="reference"),
}

INVALID = {
    "NaN": (
        valid_stimuli(mnist=with_value(np.nan)),
        r"'mnist' must .* NaN at index \(3, 1\) \(1 such",
    ),
    "infinity": (valid_stimuli(mnist=with_value(np.inf)), r"got infinity at index \(3, 1\)"),
    "minus infinity": (valid_stimuli(mnist=with_value(-np.inf)), r"got infinity at index \(3, 1\)"),
    "both infinities": (
        valid_stimuli(mnist=with_value(np.inf) - with_value(np.inf, (0, 0))),
        r"got (NaN|infinity) at index \(0, 0\)",
    ),
    "overlarge": (valid_stimuli(mnist=with_value(1e300)), r"at index \(3, 1\).*scale the data"),
    "no samples": ({"mnist": np.zeros((0, 4))}, "'mnist' must have at least 1 sample"),
    "no columns": ({"mnist": np.zeros((5, 0))}, "'mnist' must have 4 columns, got 0"),
    "too wide": (valid_stimuli(mnist=np.ones((5, 7))), "'mnist' must have 4 columns, got 7"),
    "too narrow": (valid_stimuli(arial=np.ones((5, 1))), "'arial' must have 3 columns, got 1"),
    "swapped": (
        {"mnist": valid_stimuli()["arial"], "arial": valid_stimuli()["mnist"]},
        "'mnist' must have 4 columns, got 3",
    ),
    "rows do not match": (valid_stimuli(arial=np.ones((4, 3))), r"\{'mnist': 5, 'arial': 4\}"),
    "unknown modality": (valid_stimuli(emnist=np.ones((5, 4))), r"\['emnist'\] is unknown"),
    "nothing": ({}, r"at least one modality from \['mnist', 'arial'\]"),
    "one sample as a vector": (valid_stimuli(mnist=np.ones(4)), r"\.reshape\(1, -1\)"),
    "a stack of images": (valid_stimuli(mnist=np.ones((5, 2, 2))), "a 2D array"),
    "a number": (valid_stimuli(mnist=1.0), "a 2D array"),
    "complex": (valid_stimuli(mnist=np.ones((5, 4)) * 1j), "Complex data not supported"),
    "objects": (valid_stimuli(mnist=np.array([[object()] * 4] * 5)), "must contain real numbers"),
    "missing values": (
        valid_stimuli(mnist=with_value(None).astype(object)),
        r"NaN at index \(3, 1\)",
    ),
    "words": (valid_stimuli(mnist=np.array([["1"] * 4] * 5)), "must contain real numbers"),
    "dates": (
        valid_stimuli(mnist=np.full((5, 4), datetime.date(2020, 1, 1), "M8[D]")),
        "real numbers",
    ),
    "sparse": (valid_stimuli(mnist=scipy.sparse.csr_array(np.ones((5, 4)))), r"toarray\(\)"),
    "sparse matrix": (
        valid_stimuli(mnist=scipy.sparse.coo_matrix(np.ones((5, 4)))),
        r"toarray\(\)",
    ),
    "an array without names": (np.ones((5, 4)), "a mapping from modality to array"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", INVALID)
def test_invalid_stimuli_raise_and_change_nothing(circuit, method, case):
    stimuli, message = INVALID[case]
    atoms = [d.atoms.copy() for d in circuit.dictionaries]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((ValueError, TypeError), match=message):
            METHODS[method](circuit, stimuli)
    for d, before in zip(circuit.dictionaries, atoms, strict=True):
        np.testing.assert_array_equal(d.atoms, before)
    assert not circuit.plasticity.usage.any()
    assert not circuit.plasticity.silent.any()


def test_reported_index_refers_to_whole_array(circuit):
    X = np.zeros((5000, 4))
    X[4500, 2] = np.nan
    with pytest.raises(ValueError, match=r"NaN at index \(4500, 2\)"):
        circuit.encode({"mnist": X})


@pytest.mark.filterwarnings("ignore:.*did not converge")  # float32 limits the duality gap
def test_values_whose_squares_overflow_are_rejected():
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
def test_stimuli_of_any_dtype_and_layout_are_equal(circuit, dtype, engine, form):
    X = np.random.default_rng(0).integers(0, 2, (5, 4)).astype(dtype)
    X[0] = 1
    plain = circuit.encode({"mnist": X}, engine=engine)
    other = circuit.encode({"mnist": OTHER_FORMS[form](X)}, engine=engine)
    assert other.code.dtype == dtype
    np.testing.assert_array_equal(other.code, plain.code)


def test_readonly_stimuli_and_memory_maps_stay_unchanged(circuit, dtype, tmp_path):
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
    ("form", "dtype"),
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
def test_atoms_keep_precision_or_become_float64(form, dtype):
    atoms = Dictionary("x", np.asfortranarray(np.eye(3, 4).astype(form))).atoms
    assert atoms.dtype == dtype
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
def test_invalid_atoms_are_rejected_by_name(atoms):
    with pytest.raises(ValueError, match="atoms of 'x'"):
        Dictionary("x", atoms)


@pytest.mark.parametrize("tol", [0, -1e-3, np.nan, np.inf])
def test_tolerance_must_be_finite_and_positive(circuit, tol):
    with pytest.raises(ValueError, match="tol must be"):
        circuit.encode(valid_stimuli(), tol)


@pytest.mark.parametrize("max_iter", [0, -1, 1.5, np.nan, None])
@pytest.mark.parametrize("engine", ["numba", "reference"])
def test_max_iter_below_one_is_rejected(circuit, max_iter, engine):
    with pytest.raises(ValueError, match="max_iter must be"):
        circuit.encode(valid_stimuli(), max_iter=max_iter, engine=engine)


@pytest.mark.parametrize(
    "start", [np.ones((4, 6)), np.ones((1, 6)), np.ones((5, 5)), np.full((5, 6), np.nan)]
)
def test_mismatched_start_is_rejected(circuit, start):
    with pytest.raises(ValueError, match="start must"):
        circuit.encode(valid_stimuli(), start=start)


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
def test_labels_that_are_not_classes_are_rejected(labels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="label"):
            check_labels(labels, 5, 10)


@pytest.mark.parametrize("form", [int, np.uint8, float, np.float32, object])
def test_labels_may_have_any_numeric_dtype(form):
    labels = check_labels(np.array([0, 9, 3]).astype(form), 3, 10)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, [0, 9, 3])


def test_times_are_seconds_or_brian2_quantities():
    from brian2 import Hz, ms, mV, second

    assert to_seconds(0.5, "dt") == 0.5
    assert to_seconds(10 * ms, "dt") == 10 / 1000
    assert RateNeuron(tau=20 * ms) == RateNeuron(tau=0.02)
    assert SpikingNeuron(tau=1 * second).tau == 1
    for invalid in (3 * Hz, 3 * mV):
        with pytest.raises(ValueError, match="dt must be in s"):
            to_seconds(invalid, "dt")


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf])
def test_times_must_be_finite_and_positive(circuit, value):
    with pytest.raises(ValueError, match="dt must be"):
        to_positive_seconds(value, "dt")
    with pytest.raises(ValueError, match="tau must be"):
        RateNeuron(tau=value)
    with pytest.raises(ValueError, match="duration must be"):
        circuit.simulate(valid_stimuli(), value, engine="reference")
    with pytest.raises(ValueError, match="dt must be"):
        circuit.simulate(valid_stimuli(), 0.1, value, engine="reference")


def test_step_beyond_stability_limit_is_rejected(circuit):
    limit = 2 / np.linalg.eigvalsh(circuit.gram)[-1] * circuit.neuron.tau
    with pytest.raises(ValueError, match="dt must be below the stability limit"):
        circuit.simulate(valid_stimuli(), 1.0, limit * 1.001, engine="reference")
    circuit.simulate(valid_stimuli(), 10 * limit, 0.99 * limit, engine="reference")


def test_simulation_shorter_than_one_step_is_rejected(circuit):
    with pytest.raises(ValueError, match="at least one step"):
        circuit.simulate(valid_stimuli(), 1e-9, 1e-6, engine="reference")


@pytest.mark.parametrize("neurons", [[6], [-1], [0.5], ["a"], [[0]]])
def test_recorded_neurons_must_exist(circuit, neurons):
    with pytest.raises(ValueError, match="neurons must be"):
        circuit.simulate(valid_stimuli(), 0.01, record=("u",), neurons=neurons, engine="reference")


@pytest.mark.parametrize("empty", [[], (), np.zeros(0, int), np.zeros(6, bool)], ids=repr)
def test_error_of_no_neurons_states_that_there_are_none(circuit, empty):
    for options in ({"neurons": empty}, {"samples": empty[:5]}):
        with pytest.raises(ValueError, match=r"must be whole numbers, at least one, .* Use None"):
            circuit.simulate(valid_stimuli(), 0.01, record=("u",), **options)
    with pytest.raises(ValueError, match="neurons of a driver must be whole numbers, at least one"):
        circuit.replace(drivers=[CurrentDriver(0.1, neurons=empty)])


def test_masks_select_neurons_and_samples(circuit):
    neurons, samples = np.arange(6) % 3 == 1, [False, True, False, False, True]
    circuit = circuit.replace(drivers=[CurrentDriver(0.1, neurons, samples)])
    options = {"record": ("u", "current"), "engine": "reference"}
    whole = circuit.simulate(valid_stimuli(), 0.01, **options)
    part = circuit.simulate(valid_stimuli(), 0.01, neurons=neurons, samples=samples, **options)
    assert (part.neurons.tolist(), part.samples.tolist()) == ([1, 4], [1, 4])
    for name, trace in part.traces.items():
        np.testing.assert_array_equal(trace, whole.traces[name][:, [[1], [4]], [1, 4]])
    driven = np.outer(samples, neurons)
    np.testing.assert_array_equal(whole.traces["current"][0] != 0, driven)
    for mask in (neurons[:5], [True]):
        with pytest.raises(ValueError, match="a Boolean mask of length 6"):
            circuit.simulate(valid_stimuli(), 0.01, record=("u",), neurons=mask)


def test_unknown_wiring_is_rejected(circuit):
    with pytest.raises(ValueError, match="wiring must be"):
        Circuit(circuit.neuron, circuit.transfer, circuit.dictionaries, wiring="diagonal")


def test_unknown_modalities_and_engines_are_rejected(circuit):
    for method in (circuit.dictionary, circuit.observe):
        with pytest.raises(ValueError, match=r"one of \['mnist', 'arial'\], got 'emnist'"):
            method("emnist")
    with pytest.raises(ValueError, match="at least one of"):
        circuit.observe()
    with pytest.raises(ValueError, match="numpy"):
        circuit.encode(valid_stimuli(), engine="numpy")
    with pytest.raises(ValueError, match=r"one of \['mnist', 'arial'\], got 'emnist'"):
        circuit.reconstruct(np.zeros((1, 6)), "emnist")
    with pytest.raises(ValueError, match="code must have 6 columns, got 5"):
        circuit.reconstruct(np.zeros((1, 5)), "mnist")


def test_masked_values_are_rejected():
    X = np.ma.masked_equal(np.array([[1.0, 2.0]]), 2.0)
    with pytest.raises(ValueError, match="masked values"):
        check_matrix(X, "X")
    assert check_matrix(np.ma.masked_equal(np.array([[1.0]]), 2.0), "X").shape == (1, 1)


WRONG_TYPES = {
    "a neuron class": ({"neuron": SpikingNeuron}, "neuron must be RateNeuron"),
    "no neuron": ({"neuron": None}, "neuron must be .* got None"),
    "an object with tau": ({"neuron": types.SimpleNamespace(tau=0.01)}, "neuron must be"),
    "a number for a transfer": ({"transfer": 0.1}, "transfer must be .* got 0.1"),
    "a transfer class": ({"transfer": SoftThreshold}, "transfer must be SoftThreshold"),
    "a number as driver": ({"drivers": [0.1]}, r"drivers\[0\] must be .* got 0.1"),
    "a driver without a list": ({"drivers": CurrentDriver(0.1)}, r"Use drivers=\[\.\.\.\]"),
    "an array as dictionary": ({"dictionaries": [np.eye(6)]}, r"dictionaries\[0\] must be"),
    "no dictionaries": ({"dictionaries": None}, "dictionaries must be a list"),
    "a dictionary without a list": (
        {"dictionaries": Dictionary("x", np.eye(6))},
        r"Use dictionaries=\[\.\.\.\]",
    ),
    "a number of presentations": ({"idle": 5000}, "idle must be IdleAtoms"),
    "a rule as state": ({"plasticity": Hebbian()}, "plasticity must be PlasticityState"),
}


@pytest.mark.parametrize("case", WRONG_TYPES)
def test_circuit_fields_of_wrong_type_are_rejected(circuit, case):
    fields, message = WRONG_TYPES[case]
    valid = {f.name: getattr(circuit, f.name) for f in dataclasses.fields(circuit)}
    for make in (lambda: Circuit(**valid | fields), lambda: circuit.replace(**fields)):
        with pytest.raises(TypeError, match=message):
            make()


WRONG_VALUES = {
    "two_sided": (lambda x: SoftThreshold(0.1, x), ["no", None, 0.1, [True], SoftThreshold]),
    "shared": (lambda x: CurrentDriver(0.1, shared=x), ["no", None, 2]),
    "plasticity of 'x'": (
        lambda x: Dictionary("x", np.eye(2), plasticity=x),
        [False, 0.1, Hebbian],
    ),
    "name": (lambda x: Dictionary(x, np.eye(2)), [None, 1, np.eye(2)]),
    "fade": (lambda x: OrdinalDriver(fade=x), [0.5, Fade]),
    "function": (waveforms.Callable, [None, 0.1, np.ones(3)]),
    "first": (lambda x: waveforms.Sum(x, waveforms.Constant(0.1)), [0.1, waveforms.Sine]),
    "second": (lambda x: waveforms.Sum(waveforms.Constant(0.1), x), [0.1, None]),
    "waveform": (lambda x: waveforms.Scaled(x, 2.0), [0.1, None]),
    "threshold": (SoftThreshold, ["0.1", None, [0.1], np.ones(3), lambda: 0.1]),
    "tau": (RateNeuron, ["0.1", None, [0.1], np.ones(3)]),
    "frequency": (lambda x: waveforms.Sine(0.1, x), ["5", None]),
    "sd": (lambda x: waveforms.Noise(x, 0), ["0.1", None]),
    "level": (CurrentDriver, ["0.1", None]),
}


@pytest.mark.parametrize("name", WRONG_VALUES)
def test_values_of_wrong_type_are_rejected_by_name(name):
    make, wrong = WRONG_VALUES[name]
    for value in wrong:
        with pytest.raises(TypeError, match=rf"^{name} must be .*, got"):
            make(value)


@pytest.mark.parametrize("seed", [None, "1", 1.5, -1, [1]])
def test_seeds_must_be_whole_numbers(seed):
    noise = partial(waveforms.Noise, 0.1), partial(waveforms.WhiteNoise, 0.1)
    for make in (*noise, partial(waveforms.OrnsteinUhlenbeck, 0.1, 0.01), partial(PoissonInput, 1)):
        with pytest.raises(ValueError, match="seed must be a whole number >= 0, got"):
            make(seed)


def test_driver_of_a_waveform_class_names_the_instance():
    with pytest.raises(TypeError, match=r"Use Sine\(\.\.\.\)"):
        CurrentDriver(waveforms.Sine)


@pytest.mark.parametrize(("option", "values"), [
    ("every", [None, "2", [2]]), ("window", [None, "0.5"]), ("record", [None, 1]),
    ("duration", [None, "0.1"]), ("dt", ["1e-4", [1e-4]]), ("t_start", ["0", [0.0]]),
])  # fmt: skip
def test_options_of_wrong_type_are_rejected_by_name(circuit, option, values):
    for value in values:
        options = {"duration": 0.02, "record": ("u",)} | {option: value}
        with pytest.raises((TypeError, ValueError), match=rf"^{option} must be .*, got"):
            circuit.simulate(valid_stimuli(), **options)


def test_other_calls_reject_wrong_types_by_name(circuit):
    X = valid_stimuli()
    code = circuit.encode(X).code
    for call, name in (
        (lambda: circuit.encode(X, "1e-4"), "tol"),
        (lambda: circuit.encode(X, None), "tol"),
        (lambda: circuit.learn_step(X, code, rng=0), "rng"),
        (lambda: circuit.to_brian2(n_samples="2"), "n_samples"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^{name} must be .*, got"):
            call()
    run = circuit.replace(neuron=SpikingNeuron()).simulate(X, 0.02, record=("spikes",))
    for window in ("0.5", [0.5], np.ones(2)):
        with pytest.raises(TypeError, match=r"^window must be a number, got"):
            run.rates(window)
    np.testing.assert_array_equal(circuit.encode(X, True).code, circuit.encode(X, 1.0).code)


@pytest.mark.parametrize("observed", ["mnist", ["mnist", "emnist"], ["mnist", "numbers", None]])
def test_observed_modalities_of_a_code_must_exist(circuit, observed):
    with pytest.raises(ValueError, match=r"modality must be one of"):
        circuit.reconstruct(np.ones((1, 6)), "mnist", observed)


@pytest.mark.parametrize(("values", "message"), [
    (lambda t: t, "got function of shape"), (None, "got NoneType of shape"),
    (np.ones(3), r"single row with .reshape\(1, -1\)"), (np.ones((2, 3, 4)), "Reshape images"),
])  # fmt: skip
def test_error_of_another_shape_names_what_was_given(circuit, values, message):
    for call in (circuit.encode, partial(circuit.simulate, duration=0.02)):
        with pytest.raises(ValueError, match=message):
            call(valid_stimuli(mnist=values))


def test_replaced_fields_are_validated(circuit):
    spiking = circuit.replace(neuron=SpikingNeuron(), wiring="residual")
    assert (spiking.neuron, spiking.wiring) == (SpikingNeuron(), "residual")
    assert spiking.dictionaries == circuit.dictionaries
    assert circuit.neuron == RateNeuron()
    with pytest.raises(TypeError, match=r"got \['neurons'\]"):
        circuit.replace(neurons=RateNeuron())
    with pytest.raises(ValueError, match="wiring must be"):
        circuit.replace(wiring="diagonal")
    larger = [Dictionary("x", np.eye(7))]
    with pytest.raises(ValueError, match="plasticity must have values for 7 neurons, got 6"):
        circuit.replace(dictionaries=larger)
    assert circuit.replace(dictionaries=larger, plasticity=None).n_neurons == 7


# ---------------------------------------------------------------- units


def quantities_of(number):
    """A time, a voltage and a frequency of Brian2 and of quantities."""
    import brian2
    import quantities

    for package in (brian2, quantities):
        yield number * package.ms, number * package.mV, number * package.Hz


NUMBERS = {
    "threshold": SoftThreshold,
    "quantum": lambda q: SpikingNeuron(quantum=q),
    "floor": lambda q: SpikingNeuron(floor=-q),
    "height": lambda q: waveforms.Pulse(q, 0.0, 1.0),
    "amplitude": lambda q: waveforms.Sine(q, 5.0),
    "sd": lambda q: waveforms.Noise(q, 0),
    "level": CurrentDriver,
    "factor": lambda q: waveforms.Scaled(waveforms.Constant(1.0), q),
    "array": lambda q: waveforms.Array(np.ones(3) * q, 0.1),
    "weight": lambda q: Dictionary("x", np.eye(2), q),
    "atoms": lambda q: Dictionary("x", np.eye(2) * q),
    "excitation": lambda q: OrdinalDriver(excitation=q),
    "rate": lambda q: Hebbian(rate=q),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_dimension_is_rejected_where_a_number_is_required(name):
    for quantities in quantities_of(0.01):
        for quantity in quantities:
            with pytest.raises(
                ValueError, match=rf"{name}.* must be dimensionless, got a quantity"
            ):
                NUMBERS[name](quantity)


def test_stimuli_with_a_dimension_are_rejected(circuit):
    for _, volts, _ in quantities_of(0.1):
        for scaled in (
            {name: x * volts for name, x in valid_stimuli().items()},
            {name: [[volts] * x.shape[1]] for name, x in valid_stimuli().items()},
        ):
            for call in (circuit.encode, partial(circuit.simulate, duration=0.02)):
                with pytest.raises(ValueError, match="must be dimensionless"):
                    call(scaled)


TIMES = {
    "tau": (lambda q: RateNeuron(q).tau, 0.01),
    "start": (lambda q: waveforms.Pulse(0.1, q, 1.0).start, 0.01),
    "hold": (lambda q: waveforms.Noise(0.1, 0, q).hold, 0.01),
    "dt": (lambda q: waveforms.Array([1.0], q).dt, 0.01),
}


@pytest.mark.parametrize("name", TIMES)
def test_times_of_both_packages_are_converted(name):
    make, seconds = TIMES[name]
    for time, volts, hertz in quantities_of(10):
        assert make(time) == pytest.approx(seconds, rel=1e-12)
        for wrong in (volts, hertz):
            with pytest.raises(ValueError, match=rf"{name} must be in s, got the dimension"):
                make(wrong)


def test_frequency_accepts_hertz_only():
    for time, volts, hertz in quantities_of(20):
        assert waveforms.Sine(0.1, hertz).frequency == 20.0
        for wrong in (time, volts):
            with pytest.raises(ValueError, match="frequency must be in Hz"):
                waveforms.Sine(0.1, wrong)


def test_dimensionless_quantities_are_numbers():
    import brian2
    import quantities

    for one in (1 * brian2.mV / brian2.mV, 1 * quantities.dimensionless):
        assert SoftThreshold(0.5 * one).threshold == 0.5
