"""Simulation: agreement of the engines, decreasing energy, split runs, invalid arguments."""

from __future__ import annotations

import numpy as np
import pytest
from circuits import RATE, SPIKING, random_circuit, random_stimuli, same

import spikelca.circuit.simulation
from spikelca import (
    Circuit,
    CurrentDriver,
    Dictionary,
    HardThreshold,
    OrdinalDriver,
    SoftThreshold,
    SpikingNeuron,
)
from spikelca.circuit.simulation import expected_spikes, prepare_run
from spikelca.model.waveforms import Array, Noise, Pulse, Sine

TRANSFERS = [
    SoftThreshold(0.1),
    SoftThreshold(0.1, two_sided=True),
    HardThreshold(0.1),
    HardThreshold(0.1, two_sided=True),
]
DRIVERS = {
    "none": (),
    "waves": (
        CurrentDriver(Sine(0.05, 30.0) + Noise(0.02, seed=1), neurons=[1, 2]),
        CurrentDriver(Noise(0.03, seed=2), samples=[1, 3]),
    ),
    "current": (OrdinalDriver(2),),
    "clamp": (OrdinalDriver(2, mode="clamp"),),
    "linked": (OrdinalDriver(2, mode="linked"),),
}
LABELS = [0, 1, 1, 0, 1]


def names(circuit):
    spiking = ("v", "spikes") if isinstance(circuit.neuron, SpikingNeuron) else ()
    residual = ("r", "s") if circuit.wiring == "residual" else ()
    return ("u", "a", "current", *spiking, *residual)


@pytest.mark.parametrize("drivers", DRIVERS.values(), ids=DRIVERS)
@pytest.mark.parametrize("transfer", TRANSFERS, ids=repr)
@pytest.mark.parametrize("wiring", ["lateral", "residual"])
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_numba_equals_the_reference(neuron, wiring, transfer, drivers):
    circuit = random_circuit(neuron, transfer, drivers=drivers, wiring=wiring)
    X = random_stimuli(circuit)
    if (
        neuron is SPIKING
        and transfer.two_sided
        and drivers == DRIVERS["linked"]
        and (wiring == "residual")
    ):
        with pytest.raises(NotImplementedError, match="wiring must be 'lateral'"):
            circuit.simulate(X, 0.1, labels=LABELS)
        return
    reference, fast = (
        circuit.simulate(
            X, 0.06, 4e-4, engine=engine, record=names(circuit), every=3, neurons=[4, 1],
            samples=[3, 0, 3], labels=LABELS,
        )
        for engine in ("reference", "numba")
    )  # fmt: skip
    assert np.abs(fast.code).sum() > 0
    if neuron is SPIKING:
        return same(reference, fast)
    assert fast.traces.keys() == reference.traces.keys()
    for part in ("traces", "state"):
        for name, values in getattr(fast, part).items():
            np.testing.assert_allclose(values, getattr(reference, part)[name], atol=1e-12, rtol=0)
    np.testing.assert_allclose(fast.code, reference.code, atol=1e-12, rtol=0)


@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
@pytest.mark.parametrize("transfer", TRANSFERS, ids=repr)
def test_both_wirings_are_the_same_circuit(neuron, transfer):
    lateral = random_circuit(neuron, transfer)
    residual = random_circuit(neuron, transfer, wiring="residual")
    X = random_stimuli(lateral)
    one, other = (c.simulate(X, 0.1, 4e-4, record=("u",)) for c in (lateral, residual))
    np.testing.assert_allclose(one.traces["u"], other.traces["u"], atol=1e-11, rtol=0)
    np.testing.assert_allclose(one.code, other.code, atol=1e-11, rtol=0)


@pytest.mark.parametrize("two_sided", [False, True])
def test_energy_never_rises_with_the_default_step(two_sided):
    circuit = random_circuit(
        transfer=SoftThreshold(0.05, two_sided), n_neurons=40, widths=(30,), weights=(1.0,)
    )
    X = random_stimuli(circuit, n_samples=8)
    trace = circuit.simulate(X, 0.2, record=("a",)).traces["a"]
    energies = np.array([circuit.energy(X, a) for a in trace])
    assert (np.diff(energies, axis=0) <= 1e-12).all()
    assert (energies[-1] < 0.9 * energies[0]).all()


def test_energy_rises_beyond_the_stability_limit(monkeypatch):
    """The previous test is meaningful only if a step that is too long violates it."""
    monkeypatch.setattr(spikelca.engines.problem, "step_limit", lambda gram: np.inf)
    circuit = random_circuit(n_neurons=40, widths=(30,), weights=(1.0,))
    X = random_stimuli(circuit, n_samples=8)
    trace = circuit.simulate(X, 0.2, 5e-3, record=("a",)).traces["a"]
    assert (np.diff([circuit.energy(X, a) for a in trace], axis=0) > 1e-3).any()


def test_long_simulation_converges_to_the_encoded_code():
    circuit = random_circuit()
    X = random_stimuli(circuit)
    encoded = circuit.encode(X, tol=1e-12)
    simulated = circuit.simulate(X, 20.0)
    np.testing.assert_allclose(simulated.code, encoded.code, atol=1e-9)
    assert simulated.residual.max() < 1e-9
    assert simulated.gap.max() < 1e-9


@pytest.mark.parametrize("wiring", ["lateral", "residual"])
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_continued_run_equals_one_long_run(neuron, wiring):
    circuit = random_circuit(neuron, wiring=wiring)
    X = random_stimuli(circuit)
    whole = circuit.simulate(X, 0.08, 4e-4, window=0.5)
    first = circuit.simulate(X, 0.04, 4e-4)
    second = circuit.simulate(X, 0.04, 4e-4, start=first.state, window=1.0)
    for name in whole.state:
        np.testing.assert_array_equal(second.state[name], whole.state[name])
    np.testing.assert_array_equal(second.code, whole.code)


@pytest.mark.parametrize("wiring", ["lateral", "residual"])
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_samples_do_not_interact(neuron, wiring):
    circuit = random_circuit(neuron, wiring=wiring, widths=(33, 5))
    X = random_stimuli(circuit, n_samples=9)
    whole = circuit.simulate(X, 0.05, 4e-4).code
    order = np.random.default_rng(0).permutation(9)
    permuted = circuit.simulate({k: x[order] for k, x in X.items()}, 0.05, 4e-4).code
    alone = [circuit.simulate({k: x[i : i + 1] for k, x in X.items()}, 0.05, 4e-4).code
             for i in range(9)]  # fmt: skip
    np.testing.assert_array_equal(permuted, whole[order])
    np.testing.assert_array_equal(np.vstack(alone), whole)


def test_results_do_not_depend_on_threads(monkeypatch):
    from spikelca.engines.numba.jit import parallel

    circuit = random_circuit(SPIKING)
    X = random_stimuli(circuit, n_samples=7)
    one = circuit.simulate(X, 0.05, 4e-4, record=("u", "spikes"))
    monkeypatch.setattr(parallel, "MIN_SAMPLES_PER_THREAD", 1)
    monkeypatch.setattr(parallel.numba, "get_num_threads", lambda: 3)
    same(one, circuit.simulate(X, 0.05, 4e-4, record=("u", "spikes")))


SPAN_TRANSFERS = [SoftThreshold(0.05), SoftThreshold(0.05, two_sided=True), HardThreshold(0.1)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("transfer", SPAN_TRANSFERS, ids=repr)
@pytest.mark.parametrize(
    "drivers", [(), (CurrentDriver(Noise(0.05, seed=2)),)], ids=["constant", "waveform"]
)
def test_spans_are_bit_identical_to_single_steps(transfer, dtype, drivers):
    circuit = random_circuit(
        transfer=transfer, drivers=drivers, n_neurons=300, widths=(60,), weights=(1.0,), dtype=dtype
    )
    X, dt = random_stimuli(circuit, n_samples=3), 6e-5
    whole = circuit.simulate(X, 70 * dt, dt, record=("u", "a"))
    assert 0 < np.count_nonzero(whole.code) < whole.code.size
    state = {"u": np.zeros_like(whole.code)}
    for step in range(70):
        np.testing.assert_array_equal(whole.traces["u"][step], state["u"])
        np.testing.assert_array_equal(whole.traces["a"][step], transfer(state["u"]))
        if drivers:
            break
        state = circuit.simulate(X, dt, dt, start=state, window=1.0).state
    longer = circuit.simulate(X, 67 * dt, dt, record=("u",))
    np.testing.assert_array_equal(longer.traces["u"], whole.traces["u"][:67])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fallback_steps_are_bit_identical(dtype):
    circuit = random_circuit(
        transfer=SPAN_TRANSFERS[1], n_neurons=130, widths=(60,), weights=(1.0,), dtype=dtype
    )
    X, dt = random_stimuli(circuit, n_samples=2), 6e-5
    state = {"u": np.random.default_rng(1).normal(0, 0.3, (2, 130)).astype(dtype)}
    whole = circuit.simulate(X, 60 * dt, dt, start=state, record=("u",), every=2)
    assert np.count_nonzero(circuit.transfer(state["u"])) > 200
    for step in range(60):
        if step % 2 == 0:
            np.testing.assert_array_equal(whole.traces["u"][step // 2], state["u"])
        state = circuit.simulate(X, dt, dt, start=state, window=1.0).state
    np.testing.assert_array_equal(whole.state["u"], state["u"])
    reference = circuit.simulate(X, 60 * dt, dt, start={"u": whole.traces["u"][0]},
                                 engine="reference")  # fmt: skip
    difference = np.abs(whole.state["u"] - reference.state["u"]).max()
    assert difference < (1e-12 if dtype is np.float64 else 1e-5)


def test_traces_contain_the_state_at_step_starts():
    circuit = random_circuit()
    X = random_stimuli(circuit)
    full = circuit.simulate(X, 0.01, 5e-4, record=("u", "a", "current"))
    some = circuit.simulate(X, 0.01, 5e-4, record=("u",), every=3, neurons=[7, 2], samples=[4])
    assert full.traces["u"].shape == (20, 5, 11)
    np.testing.assert_allclose(full.times, np.arange(20) * 5e-4)
    assert not full.traces["u"][0].any()
    np.testing.assert_array_equal(full.traces["a"], circuit.transfer(full.traces["u"]))
    assert not full.traces["current"].any()
    np.testing.assert_array_equal(some.traces["u"], full.traces["u"][::3, [4]][:, :, [7, 2]])
    np.testing.assert_allclose(some.times, full.times[::3])
    np.testing.assert_array_equal(full.code, circuit.transfer(full.state["u"]))


def test_rate_circuit_keeps_its_precision():
    circuit = random_circuit(dtype=np.float32)
    X = random_stimuli(circuit)
    response = circuit.simulate(X, 0.05, 4e-4, record=("u",))
    assert response.code.dtype == response.traces["u"].dtype == np.float32
    wide = random_circuit().simulate(X, 0.05, 4e-4)
    np.testing.assert_allclose(response.code, wide.code, atol=1e-5)


def test_subset_of_modalities_simulates_the_observing_circuit():
    circuit = random_circuit()
    X = random_stimuli(circuit)
    part = circuit.simulate({"a": X["a"]}, 0.05, 4e-4)
    np.testing.assert_array_equal(
        part.code, circuit.observe("a").simulate({"a": X["a"]}, 0.05, 4e-4).code
    )


def test_times_with_units_are_converted_to_seconds():
    brian2 = pytest.importorskip("brian2")
    circuit = random_circuit()
    X = random_stimuli(circuit)
    same(circuit.simulate(X, 20 * brian2.ms, 0.4 * brian2.ms), circuit.simulate(X, 0.02, 4e-4))


BAD = {
    "duration below a step": ({"duration": 1e-4, "dt": 4e-4}, "at least one step"),
    "no duration": ({"duration": 0.0}, "time > 0"),
    "step beyond the limit": ({"dt": 9e-3}, "stability limit"),
    "neuron out of range": (
        {"record": ("u",), "neurons": [11]},
        "neurons must be from 0 to 10, got values from 11",
    ),
    "sample out of range": (
        {"record": ("u",), "samples": [-1]},
        "samples must be from 0 to 4, got values from -1",
    ),
    "no such record": ({"record": ("w",)}, "a sequence of names from"),
    "v of a rate neuron": ({"record": ("v",)}, "a sequence of names from"),
    "r of one layer": ({"record": ("r",)}, "a sequence of names from"),
    "one word for a record": ({"record": "u"}, "a sequence of names from"),
    "every zeroth step": ({"record": ("u",), "every": 0}, "every must be"),
    "window of nothing": ({"window": 0.0}, "got 0.0"),
    "window beyond the run": ({"window": 1.5}, "got 1.5"),
    "start of a foreign name": ({"start": {"v": np.zeros((5, 11))}}, "start must have names from"),
    "start of another shape": ({"start": {"u": np.zeros((1, 11))}}, "must have shape (5, 11)"),
    "start with a hole": ({"start": {"u": np.full((5, 11), np.nan)}}, "NaN"),
    "unknown engine": ({"engine": "abacus"}, "abacus"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_invalid_arguments_raise_one_clear_error(arguments, message):
    circuit = random_circuit()
    arguments = {"duration": 0.02, **arguments}
    with pytest.raises(ValueError, match=r".") as error:
        circuit.simulate(random_stimuli(circuit), **arguments)
    assert message in str(error.value)


BAD_DRIVERS = {
    "an array shorter than the run": (
        lambda: CurrentDriver(Array(np.zeros(30), 4e-4)), r"at least 50 values .* got 30"),
    "an array for other neurons": (
        lambda: CurrentDriver(Array(np.zeros((50, 3)), 4e-4), neurons=[1, 2]), "for 3 neuron"),
    "an array for other samples": (
        lambda: CurrentDriver(Array(np.zeros((50, 4, 11)), 4e-4)), "shape"),
    "neurons out of range": (
        lambda: CurrentDriver(Sine(0.1, 20.0), neurons=[11]), r"neurons of .* from 11"),
    "samples out of range": (
        lambda: CurrentDriver(Sine(0.1, 20.0), samples=[5]), r"samples of .* from 5"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DRIVERS)
@pytest.mark.parametrize("engine", ["reference", "numba"])
def test_mismatched_driver_raises_one_clear_error(case, engine):
    make, message = BAD_DRIVERS[case]

    def run():
        circuit = random_circuit(drivers=(make(),))
        return circuit.simulate(random_stimuli(circuit), 0.02, 4e-4, engine=engine)

    with pytest.raises(ValueError, match=message):
        run()


def test_recording_beyond_memory_raises_before_the_run(monkeypatch):
    circuit = random_circuit()
    X = random_stimuli(circuit)
    needed = 250 * 5 * 11 * 8 * 2
    monkeypatch.setattr(spikelca.circuit.simulation, "available_bytes", lambda: needed)
    circuit.simulate(X, 0.1, 4e-4, record=("u", "a"))
    monkeypatch.setattr(spikelca.circuit.simulation, "available_bytes", lambda: needed - 1)
    with pytest.raises(MemoryError, match=r"free memory of 214\.8 KiB.*214\.8 KiB.*every="):
        circuit.simulate(X, 0.1, 4e-4, record=("u", "a"))
    circuit.simulate(X, 0.1, 4e-4, record=("u", "a"), every=2)


@pytest.mark.parametrize("transfer", TRANSFERS, ids=str)
@pytest.mark.parametrize("current", [0.0, 0.25, -0.15, -0.8])
def test_single_neuron_fires_the_expected_spikes(transfer, current):
    drivers = [CurrentDriver(current)] if current else []
    one = Circuit(SPIKING, transfer, [Dictionary("x", np.eye(1))], drivers)
    stimuli, duration, dt = {"x": np.full((1, 1), 0.6)}, 1.0, 1e-4
    problem = prepare_run(
        one.without_drivers().compile(stimuli), one.drivers, True, duration, dt, record=("spikes",)
    )
    fired = one.simulate(stimuli, duration, dt, record=("spikes",)).spikes
    rise = 3 + 0.05 * len(fired)  # of the potential at the start
    assert len(fired) <= expected_spikes(problem) <= len(fired) + rise


@pytest.mark.parametrize("wave", [0.2, Sine(0.2, 40.0), Noise(0.1, seed=0)])
@pytest.mark.parametrize("two_sided", [False, True])
def test_memory_estimate_counts_cells_and_spikes(two_sided, wave, monkeypatch):
    """Traces to the byte, of ON and OFF cells where codes are signed; spikes by their bound."""
    circuit = random_circuit(SPIKING, SoftThreshold(0.1, two_sided), drivers=[CurrentDriver(wave)])
    X, needed = random_stimuli(circuit), []
    check = spikelca.circuit.simulation.recording_bytes
    monkeypatch.setattr(
        spikelca.circuit.simulation,
        "recording_bytes",
        lambda problem: needed.append(check(problem)) or needed[-1],
    )
    traces = circuit.simulate(X, 0.1, 4e-4, record=("u", "v")).traces
    assert needed[-1] == sum(trace.nbytes for trace in traces.values())
    spikes = circuit.simulate(X, 0.1, 4e-4, record=("spikes",)).spikes
    assert 24 * len(spikes) <= needed[-1]


def test_memory_estimate_counts_spikes_of_waveforms_alone():
    driver = CurrentDriver(Pulse(0.5, 0.02, 1.0))
    circuit = random_circuit(SPIKING, drivers=[driver])
    blank = {name: np.zeros((5, width)) for name, width in circuit.widths.items()}
    static = circuit.without_drivers().compile(blank)
    problem = prepare_run(static, circuit.drivers, True, 0.1, 4e-4, record=("spikes",))
    spikes = circuit.simulate(blank, 0.1, 4e-4, record=("spikes",)).spikes
    assert 0 < len(spikes) <= expected_spikes(problem)


def test_recording_of_years_raises():
    one = Circuit(RATE, SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    with pytest.raises(MemoryError, match="free memory"):
        one.simulate({"x": np.ones((1, 2))}, 3e8, record=("u",))
