"""Long simulations run in parts: same results, little memory, interrupts and progress."""

from __future__ import annotations

import io
import tracemalloc
import warnings

import numpy as np
import pytest
from circuits import RATE, SPIKING, random_circuit, random_stimuli, with_inputs
from tqdm import tqdm

from spikelca import Circuit, CurrentDriver, Dictionary, SoftThreshold, SpikingNeuron
from spikelca.engines import currents, get_engine
from spikelca.engines.numba.simulate import online
from spikelca.engines.numba.simulate import run as numba_run
from spikelca.model import AnalogInput, Noise, PoissonInput, Sine, SpikingResidual, WhiteNoise
from spikelca.utils import progress

DT, N_STEPS = 4e-4, 101
DRIVERS = (
    CurrentDriver(Noise(0.05, seed=1, hold=3 * DT), neurons=[0, 3]),
    CurrentDriver(Sine(0.05, 60.0), neurons=[1], samples=[0, 2]),
    CurrentDriver(WhiteNoise(0.0005, seed=1), shared=True),
)


KERNELS = {RATE: "run_rate_", SPIKING: "run_spiking_"}


@pytest.fixture
def short_parts(monkeypatch):
    """Divide every run into parts of a few steps, and currents into chunks of a few values."""
    monkeypatch.setattr(numba_run, "PART_OPERATIONS", 800)
    monkeypatch.setattr(currents, "CHUNK_BYTES", 8 * 5 * 11 * 4)


def simulate(circuit, engine="numba", **options):
    spiking = ("v", "spikes") if circuit.neuron == SPIKING else ()
    record = ("u", "a", "current", *spiking, *(("s", "r") if circuit.wiring == "residual" else ()))
    options = {"record": record, "every": 3, "window": 0.7, "samples": [4, 0, 1]} | options
    return circuit.simulate(random_stimuli(circuit), N_STEPS * DT, DT, engine=engine, **options)


def assert_same_response(one, other):
    assert one.traces.keys() == other.traces.keys()
    for name in one.traces:
        np.testing.assert_array_equal(one.traces[name], other.traces[name], err_msg=name)
    for name in one.state:
        np.testing.assert_array_equal(one.state[name], other.state[name], err_msg=name)
    for name in one.events:
        np.testing.assert_array_equal(one.events[name], other.events[name], err_msg=name)
    for name in ("code", "residual", "gap", "times"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for values, expected in zip(one.spikes or (), other.spikes or (), strict=True):
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("drivers", [(), DRIVERS], ids=["none", "drivers"])
@pytest.mark.parametrize("wiring", ["lateral", "residual"])
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_parts_do_not_change_a_simulation(neuron, wiring, drivers, request):
    circuit = random_circuit(neuron, wiring=wiring, drivers=drivers)
    engines = ("numba", "reference")
    whole = [simulate(circuit, engine) for engine in engines]
    request.getfixturevalue("short_parts")
    for engine, expected in zip(engines, whole, strict=True):
        assert_same_response(simulate(circuit, engine), expected)


@pytest.mark.parametrize("kind", [PoissonInput(0.1, 3), SpikingResidual(0.05)])
def test_parts_do_not_change_spiking_inputs(kind, request):
    circuit = random_circuit(SPIKING, wiring="residual", drivers=DRIVERS)
    circuit = with_inputs(circuit, kind, AnalogInput())
    whole = simulate(circuit)
    request.getfixturevalue("short_parts")
    assert_same_response(simulate(circuit), whole)


@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_parts_do_not_change_learning(neuron, request):
    circuit = random_circuit(neuron, wiring="residual", drivers=DRIVERS)
    X = random_stimuli(circuit)
    options = {"record": ("spikes",) if neuron == SPIKING else ()}
    whole, expected = circuit.learn_in_simulation(X, 50 * DT, DT, **options)
    request.getfixturevalue("short_parts")
    parts, result = circuit.learn_in_simulation(X, 50 * DT, DT, **options)
    for one, other in zip(whole.dictionaries, parts.dictionaries, strict=True):
        np.testing.assert_array_equal(one.atoms, other.atoms)
    np.testing.assert_array_equal(result.code, expected.code)
    for values, same in zip(result.spikes or (), expected.spikes or (), strict=True):
        np.testing.assert_array_equal(values, same)


@pytest.mark.parametrize("n_samples", [1, 5, 300], ids=["one sample", "one thread", "threads"])
@pytest.mark.parametrize("wiring", ["lateral", "residual"])
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_interrupt_ends_a_simulation_between_two_parts(
    neuron, wiring, n_samples, monkeypatch, short_parts
):
    """The interrupt comes after the third block of samples; the run has hundreds of them."""
    blocks = []
    from spikelca.engines import numba as engine

    kernel = getattr(engine, KERNELS[neuron] + wiring)

    def interrupted(run, rows):
        blocks.append(rows)
        if len(blocks) == 3:
            raise KeyboardInterrupt
        kernel(run, rows)

    monkeypatch.setattr(engine, KERNELS[neuron] + wiring, interrupted)
    circuit = random_circuit(neuron, wiring=wiring)
    with pytest.raises(KeyboardInterrupt):
        circuit.simulate(random_stimuli(circuit, n_samples), N_STEPS * DT, DT)
    assert len(blocks) <= 3 + 2 * 4


@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_interrupt_ends_a_presentation_between_two_parts(neuron, monkeypatch, short_parts):
    name, first_steps = KERNELS[neuron] + "residual", []
    kernel = getattr(online, name)

    def interrupted(run, *arguments):
        first_steps.append(run.first_step)
        if len(first_steps) == 3:
            raise KeyboardInterrupt
        kernel(run, *arguments)

    monkeypatch.setattr(online, name, interrupted)
    circuit = random_circuit(neuron, wiring="residual")
    with pytest.raises(KeyboardInterrupt):
        circuit.learn_in_simulation(random_stimuli(circuit), N_STEPS * DT, DT)
    assert 0 == first_steps[0] < first_steps[1] < first_steps[2] < N_STEPS


def test_long_noise_needs_little_memory(monkeypatch):
    """Memory of the noise is that of a chunk, not of the run, which is 40 times as long."""
    monkeypatch.setattr(currents, "CHUNK_BYTES", 1 << 20)
    n = 64
    dictionaries = [Dictionary("x", np.eye(n))]
    driver = CurrentDriver(Noise(0.05, seed=0, hold=1e-4))
    circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), dictionaries, [driver])
    problem_bytes = 8 * n * 80_000
    circuit.simulate({"x": np.zeros((1, n))}, 0.01, 1e-4)
    tracemalloc.start()
    circuit.simulate({"x": np.zeros((1, n))}, 8.0, 1e-4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < problem_bytes / 4


@pytest.mark.parametrize(("duration", "is_announced"), [(0.2, False), (100.0, True)])
def test_run_of_very_many_tau_is_announced(duration, is_announced, monkeypatch):
    """A duration of 100 may be meant as milliseconds; the run itself is not needed here."""
    circuit = random_circuit(RATE)
    monkeypatch.setattr(type(get_engine("numba")), "simulate", lambda engine, problem: 1 / 0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ZeroDivisionError):
            circuit.simulate(random_stimuli(circuit), duration)
    assert len(caught) == is_announced
    for warning in caught:
        assert "a duration of 100 s is 10000 tau. Times are in seconds" in str(warning.message)
        assert warning.filename == __file__


class Terminal(io.StringIO):
    """Standard error that says it is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize("engine", ["numba", "reference", "brian2"])
def test_progress_is_shown_on_a_terminal_only(engine, monkeypatch, short_parts):
    circuit = random_circuit(SPIKING, drivers=DRIVERS)
    monkeypatch.setattr(progress, "DELAY", 0.0)
    outputs, responses, updates = [], [], []
    update = tqdm.update
    monkeypatch.setattr(
        tqdm, "update", lambda bar, n: updates.append((n, bar.total)) or update(bar, n)
    )
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", stream)
        responses.append(simulate(circuit, engine))
        outputs.append(stream.getvalue())
    assert "simulate" in outputs[0]
    assert sum(n for n, _ in updates) == 2 * updates[0][1]  # all steps of both runs
    assert not outputs[1]
    assert_same_response(*responses)
