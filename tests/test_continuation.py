"""Time continues: a run in pieces is bit-identical to one run, in every engine."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from circuits import RATE, SPIKING, random_circuit, random_stimuli, with_inputs

from spikelca import CurrentDriver, OrdinalDriver, SpikingNeuron
from spikelca.engines import State
from spikelca.model import (
    AnalogInput,
    Array,
    Callable,
    Chirp,
    Noise,
    OrnsteinUhlenbeck,
    PoissonInput,
    Pulse,
    PulseTrain,
    Ramp,
    Sine,
    SpikingResidual,
    WhiteNoise,
)

DT, N_STEPS = 4e-4, 120
CUTS = [0, 1, 17, 90, 120]
DRIVERS = {
    "none": (),
    "constant": (CurrentDriver(0.03, neurons=[1, 2]),),
    "pulse": (CurrentDriver(Pulse(0.1, 17 * DT, 91 * DT)),),
    "ramp": (CurrentDriver(Ramp(0.1, 10 * DT, 100 * DT), neurons=[0]),),
    "sine": (CurrentDriver(Sine(0.05, 60.0)),),
    "noise": (CurrentDriver(Noise(0.05, seed=1, hold=3 * DT), samples=[0, 2]),),
    "white": (CurrentDriver(WhiteNoise(0.001, seed=1)),),
    "fluctuation": (CurrentDriver(OrnsteinUhlenbeck(0.05, 0.01, seed=1, hold=DT), shared=True),),
    "pulses": (CurrentDriver(0.5 * PulseTrain(0.1, 5 * DT, 12 * DT, 2 * DT)),),
    "chirp": (CurrentDriver(Chirp(0.05, 40.0, 90.0, 0.03)),),
    "rows": (CurrentDriver(Array(np.cos(np.arange(1200.0)).reshape(120, 5, 2) / 20, DT), [0, 3]),),
    "array": (CurrentDriver(Array(np.linspace(0, 0.1, 60), dt=2 * DT)),),
    "function": (CurrentDriver(Callable(lambda t: 0.05 * np.cos(200 * t))),),
    "linked": (OrdinalDriver(2, mode="linked"), CurrentDriver(Noise(0.02, seed=2))),
}
INPUTS = {"analog": AnalogInput(), "random": PoissonInput(0.1, 3), "signed": SpikingResidual(0.05)}


def run_in_pieces(circuit, X, cuts, **options):
    """Simulate from cut to cut; return the responses."""
    responses, start = [], None
    for first, last in pairwise(cuts):
        start = circuit.simulate(X, (last - first) * DT, DT, start=start, **options)
        responses.append(start)
    return responses


def assert_one_run(whole, pieces):
    assert whole.state.keys() == pieces[-1].state.keys()
    for name, values in whole.state.items():
        np.testing.assert_array_equal(values, pieces[-1].state[name], err_msg=name)
    assert (whole.state.step, whole.state.dt) == (pieces[-1].state.step, pieces[-1].state.dt)
    np.testing.assert_array_equal(whole.times, np.concatenate([p.times for p in pieces]))
    for name, trace in whole.traces.items():
        parts = np.concatenate([p.traces[name] for p in pieces])
        np.testing.assert_array_equal(trace, parts, err_msg=name)
    if whole.spikes is not None:
        events = np.concatenate([np.array(list(p.spikes)) for p in pieces], axis=1)
        sample, neuron, step = events[:, np.lexsort((events[1], events[2], events[0]))]
        for found, expected in zip((sample, neuron, step), whole.spikes, strict=True):
            np.testing.assert_array_equal(found, expected)
        assert len(step) > 0
        assert step.max() > N_STEPS / 2


def assert_engines_agree(responses, to_the_bit):
    """Spikes, state and traces of several engines; rate neurons in lateral wiring to rounding."""
    first, *others = responses
    for other in others:
        for name in ("state", "traces"):
            one, two = getattr(first, name), getattr(other, name)
            assert one.keys() == two.keys()
            for key in one:
                tolerance = 0 if to_the_bit else 1e-12
                np.testing.assert_allclose(one[key], two[key], rtol=0, atol=tolerance, err_msg=key)
        for found, expected in zip(first.spikes or (), other.spikes or (), strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("wiring", ["lateral", "residual"])
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_pieces_equal_one_run_and_engines_agree(neuron, wiring, driver, figure):
    circuit = random_circuit(neuron, wiring=wiring, drivers=DRIVERS[driver])
    X, labels = random_stimuli(circuit), [0, 1, 1, 0, 1]
    spiking = ("v", "spikes") if neuron is SPIKING else ()
    residual = ("s", "r") if wiring == "residual" else ()
    record = ("u", "a", "current", *spiking, *residual)
    options = {"record": record, "labels": labels, "window": 1.0}
    wholes, thinned = [], []
    for engine in ("reference", "numba", "brian2"):
        wholes.append(circuit.simulate(X, N_STEPS * DT, DT, engine=engine, **options))
        pieces = run_in_pieces(circuit, X, CUTS, engine=engine, **options)
        assert_one_run(wholes[-1], pieces)
        thin = {"every": 7, "neurons": [8, 1], "samples": [3, 0]}
        start, size = pieces[1], CUTS[3] - CUTS[2]
        run = circuit.simulate(X, size * DT, DT, start=start, engine=engine, **options, **thin)
        for name, trace in pieces[2].traces.items():
            part = trace[::7][:, [3, 0]]
            kept = part if name.startswith("r:") else part[:, :, [8, 1]]
            np.testing.assert_array_equal(run.traces[name], kept)
        thinned.append(run)
    for responses in (wholes, thinned):
        assert_engines_agree(responses, neuron is SPIKING or wiring == "residual")
    n_spikes = len(wholes[0].spikes) if neuron is SPIKING else 0
    n_values = sum(trace.size for trace in wholes[0].traces.values())
    figure(f"3 engines: {n_spikes} spikes and {n_values} recorded values equal")


@pytest.mark.parametrize("engine", ["reference", "numba", "brian2"])
@pytest.mark.parametrize("kind", ["random", "signed"])
@pytest.mark.parametrize("wiring", ["lateral", "residual"])
def test_pieces_with_spiking_inputs_equal_one_run(wiring, kind, engine):
    if kind == "signed" and wiring == "lateral":
        return
    circuit = with_inputs(random_circuit(SPIKING, wiring=wiring), INPUTS[kind], INPUTS["analog"])
    X = random_stimuli(circuit)
    options = {"engine": engine, "record": ("u", "v", "spikes"), "window": 1.0}
    whole = circuit.simulate(X, N_STEPS * DT, DT, **options)
    pieces = run_in_pieces(circuit, X, CUTS, **options)
    assert_one_run(whole, pieces)
    total = sum(p.events["input_spikes"] for p in pieces)
    np.testing.assert_array_equal(whole.events["input_spikes"], total)
    assert total.all()


def test_random_streams_cross_block_boundaries():
    """Poisson spikes and noise are drawn in blocks of steps, which the cuts do not respect."""
    driver = CurrentDriver(Noise(0.05, seed=1, hold=1e-4))
    circuit = random_circuit(SPIKING, n_neurons=3, drivers=[driver])
    circuit = with_inputs(circuit, PoissonInput(0.1, 3), PoissonInput(0.1, 4))
    X, options = random_stimuli(circuit, 2), {"record": ("u", "spikes"), "window": 1.0}
    whole = circuit.simulate(X, 0.4, 1e-4, **options)
    responses, start = [], None
    for n_steps in (1000, 23, 1, 2000, 976):
        start = circuit.simulate(X, n_steps * 1e-4, start=start, dt=1e-4, **options)
        responses.append(start)
    assert_one_run(whole, responses)


@pytest.mark.parametrize("engine", ["numba", "brian2"])
@pytest.mark.parametrize("driver", ["none", "pulse", "sine", "fluctuation", "white", "linked"])
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_learning_in_pieces_equals_one_run(neuron, driver, engine):
    circuit = random_circuit(neuron, wiring="residual", drivers=DRIVERS[driver])
    X, labels = random_stimuli(circuit), [0, 1, 1, 0, 1]
    options = {"engine": engine, "record": ("spikes",) if neuron is SPIKING else ()}
    options |= {"presentation": 30 * DT, "dt": DT}
    whole, result = circuit.learn_in_simulation(X, labels=labels, **options)
    pieces, start = circuit, None
    for rows in (slice(0, 2), slice(2, 3), slice(3, 5)):
        part = {name: x[rows] for name, x in X.items()}
        pieces, start = pieces.learn_in_simulation(
            part, labels=labels[rows], start=start, **options
        )
    assert result.state.step == start.state.step == 150
    for name, values in result.state.items():
        np.testing.assert_array_equal(values, start.state[name], err_msg=name)
    for one, other in zip(whole.dictionaries, pieces.dictionaries, strict=True):
        np.testing.assert_array_equal(one.atoms, other.atoms)


@pytest.mark.parametrize("engine", ["numba", "brian2"])
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_drivers_act_in_learning(neuron, engine):
    X = random_stimuli(random_circuit(neuron))
    codes = {}
    for name, drivers in {
        "none": (),
        "strong": (CurrentDriver(-5.0),),
        "pulse": (CurrentDriver(Pulse(-5.0, 80 * DT, 120 * DT)),),
        "second": (CurrentDriver(-5.0, samples=[1]),),
    }.items():
        circuit = random_circuit(neuron, wiring="residual", drivers=drivers)
        _, result = circuit.learn_in_simulation(X, 40 * DT, DT, engine=engine, window=1.0)
        codes[name] = result.code
    assert codes["none"].any(axis=1).all()
    assert not codes["strong"].any()
    np.testing.assert_array_equal(codes["pulse"][:2], codes["none"][:2])
    # The third presentation is steps 80 to 120; its first spikes are charge of the second one.
    assert codes["pulse"][2].sum() < 0.2 * codes["none"][2].sum()
    np.testing.assert_array_equal(codes["second"][0], codes["none"][0])
    assert codes["second"][1].sum() < 0.2 * codes["none"][1].sum()


def test_engines_learn_the_same_with_drivers():
    drivers = (*DRIVERS["noise"], *DRIVERS["sine"], *DRIVERS["pulse"])
    for neuron in (RATE, SPIKING):
        circuit = random_circuit(neuron, wiring="residual", drivers=drivers)
        X = random_stimuli(circuit)
        results = [
            circuit.learn_in_simulation(X, 20 * DT, DT, engine=engine)[1]
            for engine in ("numba", "brian2")
        ]
        for name, atoms in results[0].atoms.items():
            np.testing.assert_array_equal(atoms, results[1].atoms[name])


def test_state_has_time_and_short_repr():
    circuit = random_circuit(SPIKING)
    response = circuit.simulate(random_stimuli(circuit), 0.02, 4e-4)
    assert repr(response.state) == "State(u (5, 11), v (5, 11), t = 0.02 s)"
    more = circuit.simulate(random_stimuli(circuit), 0.02, start=response.state, record=("spikes",))
    assert (more.clock.dt, more.clock.first_step) == (4e-4, 50)
    assert more.times[0] == 50 * 4e-4
    assert more.spikes.step.min() >= 50


def test_mapping_starts_at_time_zero():
    driver = CurrentDriver(Sine(0.05, 60.0))
    circuit = random_circuit(RATE, drivers=[driver])
    X = random_stimuli(circuit)
    first = circuit.simulate(X, 0.02, DT, record=("current",))
    again = circuit.simulate(X, 0.02, DT, record=("current",), start=dict(first.state))
    np.testing.assert_array_equal(first.traces["current"], again.traces["current"])
    later = circuit.simulate(
        X, 0.02, DT, record=("current",), start=dict(first.state), t_start=0.02
    )
    assert later.times[0] == 0.02
    assert not np.array_equal(later.traces["current"], first.traces["current"])


def test_time_that_is_no_multiple_of_dt_raises():
    circuit = random_circuit(RATE)
    X = random_stimuli(circuit)
    first = circuit.simulate(X, 0.0204, 4e-4)
    with pytest.raises(ValueError, match=r"multiple of dt >= 0, got 0\.0204 s"):
        circuit.simulate(X, 0.02, 5e-4, start=first)
    assert circuit.simulate(X, 0.02, 2e-4, start=first).clock.first_step == 102
    with pytest.raises(ValueError, match="multiple of dt"):
        circuit.simulate(X, 0.02, 4e-4, t_start=-0.0004)


def test_start_of_other_type_raises():
    circuit = random_circuit(RATE)
    with pytest.raises(TypeError, match="start must be a response"):
        circuit.simulate(random_stimuli(circuit), 0.02, start=[1, 2])


def test_clock_of_a_longer_run_is_exact():
    state = State({}, step=10**9, dt=1e-4)
    circuit = random_circuit(SpikingNeuron())
    response = circuit.simulate(random_stimuli(circuit), 0.01, start=state)
    assert response.clock.first_step == 10**9
    assert response.state.step == 10**9 + 100
