"""Brian2 and the fast engine: bit-identical spikes and states; the live objects."""

from __future__ import annotations

import gc
import glob
import itertools
import os
import subprocess
import sys
import tempfile
import textwrap
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest
from circuits import RATE, SPIKING, random_circuit, random_stimuli, same, with_inputs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import spikelca
from spikelca import (
    Circuit,
    CurrentDriver,
    Dictionary,
    HardThreshold,
    OrdinalDriver,
    SoftThreshold,
    SpikingNeuron,
)
from spikelca.engines.brian2 import Brian2Engine, trace_of
from spikelca.model.inputs import AnalogInput, PoissonInput, SpikingResidual
from spikelca.model.waveforms import Noise, Pulse, Sine

brian2 = pytest.importorskip("brian2")
ROOT = Path(spikelca.__file__).parent.parent


@pytest.fixture(autouse=True)
def _use_numpy_for_user_objects():
    """Run objects that a test adds in NumPy; the engine does not use this preference."""
    before = brian2.prefs.codegen.target
    brian2.prefs.codegen.target = "numpy"
    yield
    brian2.prefs.codegen.target = before


DRIVERS = {
    "none": (),
    "shared wave": (CurrentDriver(Sine(0.05, 30.0), neurons=[1, 2]), CurrentDriver(0.02)),
    "wave of each sample": (CurrentDriver(Noise(0.03, seed=2), samples=[0, 2]),),
    "clamp": (OrdinalDriver(2, mode="clamp"),),
    "linked": (OrdinalDriver(2, mode="linked"),),
}


def records(circuit):
    spiking = ("v", "spikes") if isinstance(circuit.neuron, SpikingNeuron) else ()
    residual = ("r", "s") if circuit.wiring == "residual" else ()
    return ("u", "a", "current", *spiking, *residual)


def test_random_circuits_are_bit_identical():
    """100,000 spikes of 22 random circuits with lateral and residual wiring."""
    totals = {"spikes": 0, "circuits": 0}

    @settings(max_examples=22, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(
        seed=st.integers(0, 10_000),
        wiring=st.sampled_from(["lateral", "residual"]),
        n_neurons=st.integers(8, 30),
        widths=st.sampled_from([(17,), (12, 7), (6, 9, 4)]),
        two_sided=st.booleans(),
        hard=st.booleans(),
        drivers=st.sampled_from([DRIVERS["none"], DRIVERS["shared wave"], DRIVERS["clamp"]]),
        quantum=st.floats(0.008, 0.02),
    )
    def property_(seed, wiring, n_neurons, widths, two_sided, hard, drivers, quantum):
        transfer = (HardThreshold if hard else SoftThreshold)(0.05, two_sided)
        circuit = random_circuit(
            SpikingNeuron(quantum=quantum), transfer, seed=seed, n_neurons=n_neurons,
            widths=widths, weights=(1.0, 0.7, 0.4)[: len(widths)], drivers=drivers, wiring=wiring,
        )  # fmt: skip
        X = random_stimuli(circuit, n_samples=20, seed=seed, size=0.5)
        fast, brian = (
            circuit.simulate(X, 0.06, 1e-4, engine=engine, record=("spikes",),
                             labels=np.arange(20) % 2)
            for engine in ("numba", "brian2")
        )  # fmt: skip
        same(fast, brian)
        totals["spikes"] += len(fast.spikes)
        totals["circuits"] += 1

    property_()
    assert totals["circuits"] >= 20
    assert totals["spikes"] >= 100_000


GRID = list(itertools.product(["lateral", "residual"], DRIVERS))


@pytest.mark.parametrize(("wiring", "drivers"), GRID)
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_brian2_trajectory_equals_numba(neuron, wiring, drivers):
    circuit = random_circuit(neuron, drivers=DRIVERS[drivers], wiring=wiring)
    X = random_stimuli(circuit, n_samples=3)
    fast, brian = (
        circuit.simulate(X, 0.04, 4e-4, engine=engine, record=records(circuit), every=3,
                         neurons=[4, 1], samples=[2, 0], labels=[0, 1, 1])
        for engine in ("numba", "brian2")
    )  # fmt: skip
    if neuron is SPIKING or wiring == "residual":
        return same(fast, brian)
    for part in ("traces", "state"):
        assert getattr(fast, part).keys() == getattr(brian, part).keys()
        for name, values in getattr(fast, part).items():
            np.testing.assert_allclose(values, getattr(brian, part)[name], atol=1e-12, rtol=0)


@pytest.mark.parametrize("transfer", [HardThreshold(0.1), SoftThreshold(0.1, two_sided=True),
                                      HardThreshold(0.1, two_sided=True)], ids=repr)  # fmt: skip
@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_transfer_functions_are_identical_in_brian2(neuron, transfer):
    circuit = random_circuit(neuron, transfer, wiring="residual")
    X = random_stimuli(circuit, n_samples=3)
    fast, brian = (
        circuit.simulate(X, 0.04, 4e-4, engine=engine, record=records(circuit))
        for engine in ("numba", "brian2")
    )
    same(fast, brian)


@pytest.mark.parametrize("traces", [False, True], ids=["spikes", "traces"])
@pytest.mark.parametrize(("neuron", "wiring"), [(SPIKING, "lateral"), (SPIKING, "residual"),
                                                (RATE, "residual")], ids=repr)  # fmt: skip
def test_results_do_not_depend_on_the_batch_size(neuron, wiring, traces):
    circuit = random_circuit(neuron, wiring=wiring)
    X = random_stimuli(circuit, n_samples=8)
    record = records(circuit) if traces else ("spikes",) * (neuron is SPIKING)
    whole, blocks = (
        circuit.simulate(X, 0.03, 4e-4, engine=engine, record=record, samples=[6, 1, 7, 0, 4])
        for engine in ("numba", Brian2Engine(batch_size=3))
    )
    same(whole, blocks)


def test_trace_outlives_its_monitor():
    live = random_circuit(SPIKING).to_brian2(n_samples=2, dt=4e-4, record=("u",))
    live.network.store()
    live.variable("b")[:] = 0.5
    live.run(live.problem.n_steps * live.problem.clock.dt)
    trace = trace_of(live, "u")
    kept = trace.copy()
    live.network.restore()
    assert kept.any()
    np.testing.assert_array_equal(trace, kept)
    assert trace.base is None or trace.base.flags.owndata


@pytest.mark.parametrize("share", [0.0, 0.5, 2.0])
def test_trace_with_other_steps_raises(share):
    live = random_circuit(SPIKING, wiring="residual").to_brian2(dt=4e-4, record=("u", "r"))
    if share:
        live.run(share * live.problem.n_steps * live.problem.clock.dt)
    for name in ("u", "r:a"):
        with pytest.raises(RuntimeError, match=rf"monitor of '{name}' must have recorded"):
            trace_of(live, name)


def test_monitor_without_records_raises(monkeypatch):
    import spikelca.engines.brian2 as engine

    def build_without_recording(*args, build=engine.build_network):
        live = build(*args)
        live.monitors["a"].active = False
        return live

    monkeypatch.setattr(engine, "build_network", build_without_recording)
    circuit = random_circuit(SPIKING)
    with pytest.raises(RuntimeError, match="monitor of 'a' must have recorded 25 steps"):
        circuit.simulate(random_stimuli(circuit), 0.01, 4e-4, engine="brian2", record=("u", "a"))


def test_float32_circuit_is_simulated_in_float64():
    circuit = random_circuit(dtype=np.float32)
    X = random_stimuli(circuit)
    brian = circuit.simulate(X, 0.02, 4e-4, engine="brian2")
    assert brian.code.dtype == np.float64
    np.testing.assert_allclose(brian.code, circuit.simulate(X, 0.02, 4e-4).code, atol=1e-5)


@pytest.mark.cython
@pytest.mark.parametrize("wiring", ["lateral", "residual"])
def test_compiled_brian2_fires_the_same_spikes(wiring, quick_compiler):
    circuit = random_circuit(SPIKING, wiring=wiring)
    X = random_stimuli(circuit)
    fast = circuit.simulate(X, 0.1, 4e-4, record=("spikes",))
    brian = circuit.simulate(X, 0.1, 4e-4, record=("spikes",), engine=Brian2Engine(target="cython"))
    for one, other in zip(fast.spikes, brian.spikes, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(brian.state["v"], fast.state["v"], atol=1e-10)
    live = circuit.to_brian2(X, dt=4e-4, target="cython")
    live.run(0.1)
    for one, other in zip(fast.spikes, live.spikes(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert type(live.population.thresholder["spike"].codeobj).__name__ == "CythonCodeObject"


def test_live_objects_continue_like_the_circuit():
    circuit = random_circuit(SPIKING)
    X = random_stimuli(circuit)
    live = circuit.to_brian2(X, dt=4e-4)
    assert isinstance(live.network, brian2.Network)
    assert isinstance(live.population, brian2.NeuronGroup)
    assert isinstance(live.lateral, brian2.Synapses)
    live.run(0.02)
    live.run(20 * brian2.ms)
    whole = circuit.simulate(X, 0.04, 4e-4, record=("spikes",))
    np.testing.assert_array_equal(live.variable("v"), whole.state["v"])
    for one, other in zip(live.spikes(), whole.spikes, strict=True):
        np.testing.assert_array_equal(one, other)


def test_residual_circuit_provides_inputs_and_synapses():
    circuit = random_circuit(SPIKING, wiring="residual")
    X = random_stimuli(circuit)
    live = circuit.to_brian2(X, dt=4e-4, record=("r",))
    assert live.lateral is None
    assert set(live.inputs) == set(live.synapses) == {"a", "b"}
    assert len(live.inputs["a"]) == 5 * 9
    np.testing.assert_array_equal(live.weights("b")[3].T, circuit.dictionary("b").atoms)
    live.run(0.04)
    whole = circuit.simulate(X, 0.04, 4e-4)
    np.testing.assert_array_equal(live.variable("r:a"), whole.state["r:a"])


def test_weights_keep_their_memory():
    circuit = random_circuit(SPIKING, wiring="residual")
    live = circuit.to_brian2(random_stimuli(circuit), dt=4e-4)
    weights, variable = live.weights("b"), weakref.ref(live.synapses["b"].variables["w"])
    weights[2, 1, 0] = 7.0
    assert live.synapses["b"].w[2 * 55 + 11] == 7.0
    del live
    gc.collect()
    assert variable() is not None
    del weights
    gc.collect()
    assert variable() is None


def test_user_objects_run_with_the_circuit():
    circuit = random_circuit(SPIKING)
    live = circuit.to_brian2(random_stimuli(circuit), dt=4e-4)
    monitor = brian2.StateMonitor(live.population, "u", record=[3], clock=live.clock)
    filtered = brian2.NeuronGroup(1, "dz/dt = (level - z)/(5*ms) : 1", method="euler",
                               clock=live.clock)  # fmt: skip
    tap = brian2.Synapses(live.population, filtered, on_pre="z_post += theta_pre", clock=live.clock)
    tap.connect(i=np.arange(5), j=0)
    live.add(monitor, filtered, tap)
    live.run(0.04, namespace={"level": 0.0})
    assert monitor.u.shape == (1, 100)
    assert filtered.z[0] > 0
    same_without = circuit.simulate(random_stimuli(circuit), 0.04, 4e-4)
    np.testing.assert_array_equal(live.variable("u"), same_without.state["u"])


def test_equations_are_readable_text():
    text = random_circuit(SPIKING, wiring="residual").to_brian2().equations
    for line in ("dv/dt = allowed*(u - lam)*int(u > lam or v > v_floor)/tau : 1", "v >= theta",
                 "dr/dt = (x - r)/tau : 1", "w += eta_0_post*r_pre"):  # fmt: skip
        assert line in text
    assert "inhibition" in random_circuit(RATE).to_brian2(n_samples=2).equations


def test_circuit_without_stimuli_is_silent():
    live = random_circuit(SPIKING).to_brian2(n_samples=3)
    live.run(0.05)
    assert len(live.monitors["spikes"].i) == 0
    assert not live.variable("u").any()


def test_brian2_does_not_encode():
    circuit = random_circuit()
    with pytest.raises(NotImplementedError, match=r"circuit\.simulate"):
        circuit.encode(random_stimuli(circuit), engine="brian2")


def test_unknown_target_raises():
    with pytest.raises(ValueError, match="'numpy' or 'cython'"):
        Brian2Engine(target="fortran")


def test_cython_without_a_compiler_raises(monkeypatch):
    from brian2.codegen.runtime.cython_rt import cython_rt

    def no_compiler(*args, **options):
        raise OSError("command 'g++' failed")

    monkeypatch.setattr(cython_rt.cython_extension_manager, "create_extension", no_compiler)
    circuit = random_circuit()
    with pytest.raises(RuntimeError, match=r"compiler does not work(.|\n)*g\+\+"):
        circuit.simulate(random_stimuli(circuit), 0.01, engine=Brian2Engine(target="cython"))


def test_synapses_beyond_memory_raise_before_allocation(monkeypatch):
    import spikelca.engines.brian2 as brian2_engine

    monkeypatch.setattr(brian2_engine, "available_bytes", lambda: 1000)
    circuit = random_circuit()
    with pytest.raises(MemoryError, match="fewer samples at a time"):
        circuit.simulate(random_stimuli(circuit), 0.01, engine="brian2")


def test_memory_grows_with_samples_and_time_varying_currents(monkeypatch):
    import spikelca.engines.brian2 as module
    from spikelca.engines.brian2.build import BYTES_PER_SYNAPSE

    bar = CurrentDriver(Pulse(0.05, 0.0, 0.005))
    for drivers, n_values in (((), 0), ((bar,), 25 * 11)):
        circuit = random_circuit(drivers=drivers)
        X = random_stimuli(circuit, n_samples=3)
        needed = 3 * 11**2 * BYTES_PER_SYNAPSE + 8 * n_values
        monkeypatch.setattr(module, "available_bytes", lambda needed=needed: needed)
        circuit.simulate(X, 0.01, 4e-4, engine="brian2")
        monkeypatch.setattr(module, "available_bytes", lambda needed=needed: needed - 1)
        with pytest.raises(MemoryError, match="3 samples"):
            circuit.simulate(X, 0.01, 4e-4, engine="brian2")


def test_preferences_seeds_and_default_clock_are_unchanged():
    before = {name: brian2.prefs[name] for name in brian2.prefs}
    dt, state = brian2.defaultclock.dt_, np.random.get_state()[1].copy()  # noqa: NPY002
    circuit = random_circuit(SPIKING, wiring="residual")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        circuit.simulate(random_stimuli(circuit), 0.02, engine="brian2", record=("u", "spikes"))
    assert {name: brian2.prefs[name] for name in brian2.prefs} == before
    assert brian2.defaultclock.dt_ == dt
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


CELLS = {
    "analog": ("residual", AnalogInput(), AnalogInput()),
    "random": ("lateral", PoissonInput(0.1, 0), AnalogInput()),
    "random and signed": ("residual", PoissonInput(0.1, 0), SpikingResidual(0.05)),
}


@pytest.mark.parametrize("drivers", ["shared wave", "clamp"])
@pytest.mark.parametrize("cells", CELLS)
def test_runs_and_live_circuits_log_no_warning(cells, drivers, monkeypatch):
    # What was logged once in this process would not be logged again.
    monkeypatch.setattr(brian2.BrianLogger, "_log_messages", set())
    wiring, *kinds = CELLS[cells]
    circuit = random_circuit(SPIKING, drivers=DRIVERS[drivers], wiring=wiring)
    circuit, X = with_inputs(circuit, *kinds), random_stimuli(circuit)
    run = {"labels": [0, 1, 1, 0, 1], "dt": 4e-4}
    with brian2.utils.logger.catch_logs() as logs:
        circuit.simulate(X, 0.01, engine=Brian2Engine(batch_size=2), record=records(circuit), **run)
        names = [name for name in records(circuit) if name != "current"]
        live = circuit.to_brian2(X, record=names, **run)
        live.run(0.01)
        del live
        circuit.to_brian2(X, **run)
        gc.collect()
    assert logs == []


@pytest.mark.parametrize("neuron", [RATE, SPIKING], ids=["rate", "spiking"])
def test_learning_in_brian2_logs_no_warning(neuron, monkeypatch):
    monkeypatch.setattr(brian2.BrianLogger, "_log_messages", set())
    circuit = random_circuit(neuron, wiring="residual")
    with brian2.utils.logger.catch_logs() as logs:
        circuit.learn_in_simulation(random_stimuli(circuit), 0.01, 4e-4, engine="brian2")
        gc.collect()
    assert logs == []


def test_new_process_leaves_no_log_or_hook(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent("""
        import logging, signal, sys, warnings
        before = sys.excepthook, warnings.showwarning, signal.getsignal(signal.SIGINT)
        import numpy as np
        import spikelca
        assert "brian2" not in sys.modules
        c = spikelca.Circuit(spikelca.SpikingNeuron(), spikelca.SoftThreshold(0.1),
                             [spikelca.Dictionary("x", np.eye(3))])
        assert "brian2" not in sys.modules
        c.simulate({"x": np.full((2, 3), 0.5)}, 0.01, engine="brian2")
        assert "brian2" in sys.modules
        assert before == (sys.excepthook, warnings.showwarning, signal.getsignal(signal.SIGINT))
        """))  # fmt: skip
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(script)], capture_output=True, text=True,
        env=os.environ | {"TMPDIR": str(scratch), "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout == run.stderr == ""
    assert list(scratch.iterdir()) == []
    assert Path(tempfile.gettempdir()) != scratch
    assert glob.glob(str(scratch / "brian_*")) == []


def test_orthogonal_atoms_need_no_synapses():
    circuit = Circuit(SPIKING, SoftThreshold(0.1), [Dictionary("x", np.eye(3))])
    X, record = {"x": np.random.default_rng(0).random((2, 3))}, ("u", "spikes")
    found = circuit.simulate(X, 0.03, 4e-4, engine="brian2", record=record)
    same(circuit.simulate(X, 0.03, 4e-4, record=record), found)


# ---------------------------------------------------------------- new stimuli

LIVE_CIRCUITS = {
    "lateral": random_circuit(SPIKING),
    "residual": random_circuit(SPIKING, wiring="residual"),
    "signed": random_circuit(SPIKING, transfer=SoftThreshold(0.1, two_sided=True)),
    "rate": random_circuit(RATE),
    "waveform": random_circuit(SPIKING).replace(drivers=(CurrentDriver(Sine(0.2, 50.0)),)),
}


@pytest.mark.parametrize("name", LIVE_CIRCUITS)
def test_new_stimuli_of_live_objects_equal_a_continued_simulation(name):
    circuit = LIVE_CIRCUITS[name]
    before, after = random_stimuli(circuit, seed=1), random_stimuli(circuit, seed=2)
    live = circuit.to_brian2(before, dt=4e-4, duration=0.08)
    live.run(0.04)
    live.set_stimuli(after)
    live.run(0.04)
    expected = circuit.simulate(before, 0.04, 4e-4)
    expected = circuit.simulate(after, 0.04, 4e-4, start=expected)
    for variable in live.problem.state_widths():
        np.testing.assert_allclose(
            live.variable(variable), expected.state[variable], atol=1e-12, rtol=0
        )


@pytest.mark.parametrize("name", ["lateral", "residual", "signed", "waveform"])
def test_new_stimuli_of_live_objects_are_checked_before_any_change(name):
    circuit = LIVE_CIRCUITS[name]
    X = random_stimuli(circuit)
    live = circuit.to_brian2(X, dt=4e-4)
    drive = "current" if name == "residual" else "b"
    before = live.variable(drive).copy()
    two = {k: v[:2] for k, v in X.items()}
    for stimuli, message in (
        ({k: 1000 * v for k, v in X.items()}, "one spike per step"),
        ({k: np.full_like(v, np.nan) for k, v in X.items()}, "(?i)nan"),
        (two, "samples"),
        ({"a": X["a"]}, "samples of"),
    ):
        with pytest.raises(ValueError, match=message):
            live.set_stimuli(stimuli)
    np.testing.assert_array_equal(live.variable(drive), before)


def test_new_stimuli_of_live_objects_keep_silenced_neurons():
    circuit = LIVE_CIRCUITS["lateral"]
    live = circuit.to_brian2(random_stimuli(circuit, seed=1), dt=4e-4, record=("spikes",))
    live.variable("allowed")[:] = 0.0
    live.set_stimuli(random_stimuli(circuit, seed=2))
    live.run(0.04)
    assert live.monitors["spikes"].num_spikes == 0


def test_new_stimuli_of_live_objects_keep_currents_that_were_set():
    circuit = LIVE_CIRCUITS["residual"]
    live = circuit.to_brian2(random_stimuli(circuit, seed=1), dt=4e-4)
    live.variable("current")[:] = 0.25
    live.set_stimuli(random_stimuli(circuit, seed=2))
    np.testing.assert_array_equal(live.variable("current"), 0.25)


@pytest.mark.parametrize(
    "call",
    [Circuit.to_brian2, lambda circuit, X: circuit.simulate(X, 0.01, engine="brian2")],
    ids=["to_brian2", "simulate"],
)
def test_devices_that_generate_code_are_rejected(call):
    circuit = LIVE_CIRCUITS["lateral"]
    X = random_stimuli(circuit)
    brian2.set_device("cpp_standalone", build_on_run=False)
    try:
        with pytest.raises(RuntimeError, match=r"set_device\('runtime'\)"):
            call(circuit, X)
    finally:
        brian2.device.reinit()
        brian2.set_device("runtime")
    assert circuit.simulate(X, 0.01, engine="brian2").code.shape


@pytest.mark.parametrize("name", ["lateral", "residual", "signed"])
def test_state_of_live_objects_is_checked_before_any_change(name):
    circuit = LIVE_CIRCUITS[name]
    X = random_stimuli(circuit)
    state = circuit.simulate(X, 0.04, 4e-4).state
    live = circuit.to_brian2(X, dt=4e-4)
    variable = "s" if name == "residual" else "u"
    for wrong, message in (
        ({"U": state["v"]}, "state must have names from .* got 'U'"),
        ({"v": state["v"][:1]}, r"state 'v' must have shape \(5, \d+\), got \(1,"),
        ({"v": np.full_like(state["v"], np.nan)}, "state 'v' must contain finite numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            live.set_state({variable: state[variable], **wrong})
    assert not live.variable(variable).any()
    live.set_state(state)
    for each in live.problem.state_widths():
        np.testing.assert_array_equal(live.variable(each), state[each])


def test_batch_size_must_be_a_whole_number():
    for wrong in (0, 1.5, None, 10 * brian2.ms):
        with pytest.raises(ValueError, match="batch_size must be"):
            Brian2Engine(batch_size=wrong)


def test_report_and_profile_of_a_live_run(capsys):
    circuit = LIVE_CIRCUITS["signed"]
    live = circuit.to_brian2(random_stimuli(circuit), dt=4e-4)
    fractions = []
    live.run(0.01, report=lambda elapsed, done, start, duration: fractions.append(done))
    live.run(0.01, report="stdout", profile=True)
    assert fractions[0] == 0.0
    assert fractions[-1] == 1.0
    assert "simulated" in capsys.readouterr().out
    assert brian2.profiling_summary(live.network).names


def test_representation_of_live_objects_is_short():
    circuit = LIVE_CIRCUITS["lateral"]
    live = circuit.to_brian2(random_stimuli(circuit), dt=4e-4, record=("spikes",))
    live.run(0.02)
    text = repr(live)
    for part in ("5 samples of 11 neurons", "'a': 9", "time 0.02 s", "step 0.0004 s", "['spikes']"):
        assert part in text
    assert text.count("\n") < 5
