"""Types that an engine does not implement: it raises, and never runs another type instead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from circuits import RATE, SPIKING, random_circuit, random_stimuli

from spikelca import Circuit, Dictionary, LCACoder, RateNeuron, SoftThreshold, SpikingNeuron
from spikelca.engines import Engine, Response
from spikelca.model import AnalogInput, Neuron, PoissonInput, SpikingResidual, Transfer

ENGINES = ["numba", "brian2", "reference"]


@dataclass(frozen=True)
class Capped(Transfer):
    """A soft threshold with a largest output."""

    def one_sided(self, u):
        return np.clip(u - u.dtype.type(self.threshold), 0, u.dtype.type(0.05))

    def cost(self, a):
        return self.threshold * np.abs(a).sum(axis=-1)

    def inverse(self, a):
        return a + np.sign(a) * self.threshold


class Doubled(SoftThreshold):
    """A subclass with another function."""

    def one_sided(self, u):
        return 2 * super().one_sided(u)


class FastRate(RateNeuron):
    pass


class FastSpiking(SpikingNeuron):
    pass


class OwnNeuron(Neuron):
    pass


class OwnInput(AnalogInput):
    pass


class OwnPoisson(PoissonInput):
    pass


class OwnResidual(SpikingResidual):
    pass


def with_inputs(kind):
    dictionary = Dictionary("x", random_circuit().dictionaries[0].atoms, inputs=kind)
    return Circuit(SPIKING, SoftThreshold(0.1), [dictionary], wiring="residual")


UNKNOWN = {
    "Capped": lambda: random_circuit(SPIKING, Capped(0.1), wiring="residual"),
    "Doubled": lambda: random_circuit(SPIKING, Doubled(0.1), wiring="residual"),
    "FastRate": lambda: random_circuit(FastRate(), wiring="residual"),
    "FastSpiking": lambda: random_circuit(FastSpiking(), wiring="residual"),
    "OwnNeuron": lambda: random_circuit(OwnNeuron(), wiring="residual"),
    "OwnInput": lambda: with_inputs(OwnInput()),
    "OwnPoisson": lambda: with_inputs(OwnPoisson(0.1, seed=0)),
    "OwnResidual": lambda: with_inputs(OwnResidual(0.1)),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_type_raises_in_every_call(name, engine):
    circuit = UNKNOWN[name]()
    X = random_stimuli(circuit)
    calls = [
        lambda: circuit.simulate(X, 0.01, 4e-4, engine=engine),
        lambda: circuit.learn_in_simulation(X, 0.01, 4e-4, engine=engine),
    ]
    if engine != "brian2":
        calls.append(lambda: circuit.encode(X, engine=engine))
    if engine == "brian2":
        calls.append(lambda: circuit.to_brian2(X, dt=4e-4))
    for call in calls:
        with pytest.raises(NotImplementedError, match=rf"engine '{engine}', got {name}"):
            call()


@pytest.mark.parametrize("transfer", [Capped(0.1), Doubled(0.1), Capped(0.1, two_sided=True)])
def test_reference_engine_runs_any_transfer_of_rate_neurons(transfer):
    circuit = random_circuit(RATE, transfer)
    # An overlap of the atoms times a slope of two would be unstable.
    dictionaries = [Dictionary("x", np.eye(5))]
    circuit = circuit.replace(dictionaries=dictionaries, plasticity=None, drivers=())
    X = {"x": np.linspace(-0.3, 0.3, 15).reshape(3, 5)}
    expected = transfer(X["x"])
    simulated = circuit.simulate(X, 0.3, 1e-4, engine="reference")
    encoded = circuit.encode(X, 1e-6, engine="reference")
    for response in (simulated, encoded):
        np.testing.assert_allclose(response.code, expected, atol=1e-5)
        assert response.residual.max() < 1e-5
        assert response.gap is None  # the gap is that of SoftThreshold
    with pytest.raises(NotImplementedError, match=f"got {type(transfer).__name__}"):
        circuit.encode(X)
    with pytest.raises(NotImplementedError, match=f"got {type(transfer).__name__}"):
        circuit.simulate(X, 0.3)


class OwnEngine(Engine):
    name = "own"
    neurons = (OwnNeuron,)

    def encode(self, problem, tol, max_iter):
        return Response(problem.transfer(problem.drive()), np.zeros(problem.n_samples), None)

    def simulate(self, problem):
        return self.encode(problem, 0.1, 1)


def test_own_engine_implements_own_neuron():
    circuit = Circuit(OwnNeuron(), Capped(0.1), [Dictionary("x", np.eye(2))])
    assert circuit.encode({"x": [[0.12, 0.3]]}, engine=OwnEngine()).code[0] == pytest.approx(
        [0.02, 0.05]
    )
    assert circuit.simulate({"x": np.eye(2)}, 0.1, engine=OwnEngine()).code.shape == (2, 2)
    coder = LCACoder(np.eye(2), neuron=OwnNeuron(), engine=OwnEngine())
    assert coder.transform([[0.12, 0.3]])[0] == pytest.approx([0.02, 0.2])
    with pytest.raises(NotImplementedError, match=r"neuron must be OwnNeuron .* got RateNeuron"):
        circuit.replace(neuron=RateNeuron()).encode({"x": np.eye(2)}, engine=OwnEngine())
