"""The equations, synapses and resets of a circuit in the syntax of Brian2.

`make_equations` completes the templates for a circuit: its transfer function, a time-varying driver
current, its number of modalities. The order of one step is described in `spikelca.engines.base`.
"""

from __future__ import annotations

from dataclasses import dataclass

from spikelca.engines.problem import Problem
from spikelca.model.inputs import PoissonInput
from spikelca.model.neurons import SpikingNeuron
from spikelca.model.transfer import HardThreshold

RATE_LATERAL = """
du/dt = (b{d} - inhibition - u)/tau : 1      # membrane
a = {transfer} : 1                           # output, the code
inhibition : 1                               # L a, over the lateral synapses
b : 1                                        # drive of the stimuli, with constant currents
"""

RATE_RESIDUAL = """
u = {feed}s : 1                           # membrane
ds/dt = (own*a + current{d} - s)/tau : 1     # filtered output of the neuron, with driver currents
a = {transfer} : 1                           # output, the code
current : 1                                  # constant driver current
own : 1 (shared, constant)                   # 1, less the gain of linked drivers
"""

SPIKING_LATERAL = """
du/dt = (b{d} - u)/tau : 1                   # dendrite
dv/dt = {charge}/tau : 1                     # spike generator
a = {transfer} : 1                           # the rate at which v is charged
b : 1                                        # drive of the stimuli, with constant currents
"""

SPIKING_RESIDUAL = """
u = {feed}s : 1                           # dendrite
ds/dt = (current{d} - s)/tau : 1             # filtered spikes of the neuron, with driver currents
dv/dt = {charge}/tau : 1                     # spike generator
a = {transfer} : 1                           # the rate at which v is charged
current : 1                                  # constant driver current
own : 1 (shared, constant)                   # 1, less the gain of linked drivers
"""

COMMON = """
allowed : 1                                  # 0 where a driver clamps, else 1
lam : 1 (shared, constant)                   # threshold
tau : second (shared, constant)              # membrane time constant
"""

QUANTUM = """
theta : 1 (shared, constant)                 # quantum of one spike
v_floor : 1 (shared, constant)               # floor of v
"""

WAVEFORM = "d = wave(t, {index}) : 1                     # time-varying driver current\n"

FEEDFORWARD = """ff_{i} : 1                         # Phi^T r of modality {name!r}
g_{i} : 1 (shared, constant)                 # its weight
"""

LEARNING_RATE = "eta_{i} : 1                        # learning rate per spike, modality {name!r}\n"

INPUT_RATE = """
dr/dt = (x - feedback - r)/tau : 1           # residual neuron: the error of the reconstruction
feedback : 1                                 # Phi a
x : 1                                        # stimulus
tau : second (shared, constant)
"""

INPUT_SPIKING = """
dr/dt = (x - r)/tau : 1                      # residual neuron: the error of the reconstruction
x : 1                                        # stimulus
tau : second (shared, constant)
"""

INPUT_SIGNED = """
dr/dt = (x - r)/tau : 1                      # residual neuron: the error of the reconstruction
dp/dt = r/tau : 1                            # its signed spike generator
x : 1                                        # stimulus
tau : second (shared, constant)
quantum : 1 (shared, constant)               # threshold of p
charge : 1 (shared, constant)                # weighted charge of one spike
"""
SIGNED_THRESHOLD = "abs(p) >= quantum"
SIGNED_RESET = "p -= sign(p)*quantum"
ON_INPUT_SPIKE = "v_post += allowed_post*(w*(charge_pre*sign(p_pre)))"
CLIP_V = "v = clip(v, v_floor, inf)"

EVENT_WEIGHT = "w : 1"
ON_ARRIVAL_LATERAL = "u_post += w"
ON_ARRIVAL_RESIDUAL = "r_post += w"

LATERAL_RATE = "w : 1\ninhibition_post = w*a_pre : 1 (summed)"
LATERAL_SPIKING = "w : 1"
ON_LATERAL_SPIKE = "u_post -= w*theta_pre"

PHI_RATE = "w : 1\nff_{i}_post = w*r_pre : 1 (summed)\nfeedback_pre = w*a_post : 1 (summed)"
PHI_SPIKING = "w : 1\nff_{i}_post = w*r_pre : 1 (summed)"
PHI_SIGNED = "w : 1"
ON_SPIKE_LEARN = "w += eta_{i}_post*r_pre"
ON_SPIKE_FEEDBACK = "r_pre -= w*theta_post"

THRESHOLD = "v >= theta"
RESET_LATERAL = "v -= theta"
RESET_RESIDUAL = "v -= theta\ns += own*theta"

# Keys: hard threshold, two-sided.
TRANSFER = {
    (False, False): "(u - lam)*int(u > lam)*allowed",
    (False, True): "sign(u)*(abs(u) - lam)*int(abs(u) > lam)*allowed",
    (True, False): "u*int(u > lam)*allowed",
    (True, True): "u*int(abs(u) > lam)*allowed",
}
CHARGE = {
    False: "allowed*(u - lam)*int(u > lam or v > v_floor)",
    True: "allowed*u*int(u > lam)",
}


@dataclass(frozen=True)
class ModelEquations:
    """The equations of one circuit in the syntax of Brian2, as readable text by ``str``.

    Attributes of tuples have one entry per modality; absent parts are None or empty.
    """

    population: str
    threshold: str | None = None
    reset: str | None = None
    inputs: tuple[str, ...] = ()
    lateral: str | None = None
    on_lateral_spike: str | None = None
    phi: tuple[str, ...] = ()
    on_spike: tuple[dict[str, str], ...] = ()
    on_input_spike: tuple[str, ...] = ()
    on_random_spike: tuple[str, ...] = ()
    clip: str | None = None

    def __str__(self) -> str:
        parts = {
            "population": self.population,
            "threshold": self.threshold,
            "reset": self.reset,
            **{f"input population of modality {i}": text for i, text in enumerate(self.inputs)},
            "threshold of signed input cells": SIGNED_THRESHOLD if self.clip else None,
            "reset of signed input cells": SIGNED_RESET if self.clip else None,
            "lateral synapses": self.lateral,
            "on a spike of the presynaptic neuron": self.on_lateral_spike,
            **{f"synapses Phi of modality {i}": text for i, text in enumerate(self.phi)},
            **{f"on a random spike, modality {i}": t for i, t in enumerate(self.on_random_spike)},
            **{f"on an input spike, modality {i}": t for i, t in enumerate(self.on_input_spike)},
            **{
                f"on a spike of the neuron, modality {i}: {name}": text
                for i, pathways in enumerate(self.on_spike)
                for name, text in pathways.items()
            },
            "at the end of a step": self.clip or "",
        }
        return "\n\n".join(f"# {title}\n{text.strip()}" for title, text in parts.items() if text)


def suffix(problem: Problem, i: int) -> str:
    """Format the index of a modality with a fixed width, so that names sort like numbers."""
    return str(i).zfill(len(str(len(problem.inputs) - 1)))


def make_equations(problem: Problem) -> ModelEquations:
    """Complete the templates for a circuit."""
    population, inputs = population_equations(problem), problem.inputs
    on_arrival = ON_ARRIVAL_RESIDUAL if problem.residual_wiring else ON_ARRIVAL_LATERAL
    on_random_spikes = tuple(
        on_arrival if isinstance(p.input_kind, PoissonInput) else "" for p in inputs
    )
    names = [suffix(problem, i) for i in range(len(inputs))]
    if not isinstance(problem.neuron, SpikingNeuron):
        if not problem.residual_wiring:
            return ModelEquations(population, lateral=LATERAL_RATE)
        phi = tuple(PHI_RATE.format(i=i) for i in names)
        no_pathways: tuple[dict[str, str], ...] = ({},) * len(phi)
        return ModelEquations(
            population,
            inputs=(INPUT_RATE,) * len(phi),
            phi=phi,
            on_spike=no_pathways,
            on_input_spike=("",) * len(phi),
        )
    if not problem.residual_wiring:
        return ModelEquations(
            population, THRESHOLD, RESET_LATERAL, lateral=LATERAL_SPIKING,
            on_lateral_spike=ON_LATERAL_SPIKE, on_random_spike=on_random_spikes,
        )  # fmt: skip
    phi = tuple(
        PHI_SPIKING.format(i=i) if p.charges_dendrite else PHI_SIGNED
        for i, p in zip(names, inputs, strict=True)
    )
    return ModelEquations(
        population,
        THRESHOLD,
        RESET_RESIDUAL,
        tuple(INPUT_SPIKING if p.charges_dendrite else INPUT_SIGNED for p in inputs),
        phi=phi,
        on_spike=tuple(
            {"learn": ON_SPIKE_LEARN.format(i=i), "feedback": ON_SPIKE_FEEDBACK} for i in names
        ),
        on_input_spike=tuple("" if p.charges_dendrite else ON_INPUT_SPIKE for p in inputs),
        on_random_spike=on_random_spikes,
        clip=CLIP_V if problem.has_direct_inputs else None,
    )


def population_equations(problem: Problem) -> str:
    """Complete the equations of the neurons of the code."""
    spiking, residual = isinstance(problem.neuron, SpikingNeuron), problem.residual_wiring
    base = {
        (False, False): RATE_LATERAL,
        (False, True): RATE_RESIDUAL,
        (True, False): SPIKING_LATERAL,
        (True, True): SPIKING_RESIDUAL,
    }[spiking, residual]
    hard, wave = isinstance(problem.transfer, HardThreshold), problem.waveform
    populations = {suffix(problem, i): p for i, p in enumerate(problem.inputs)}
    text = base.format(
        d="" if wave is None else " + d",
        transfer=TRANSFER[hard, problem.transfer.two_sided],
        charge=CHARGE[hard],
        feed="".join(f"g_{i}*ff_{i} + " for i, p in populations.items() if p.charges_dendrite),
    )
    text += COMMON + (QUANTUM if spiking else "")
    if wave is not None:
        shared = wave.shape[1] == 1
        text += WAVEFORM.format(index=f"i % {problem.n_neurons}" if shared else "i")
    for i, p in populations.items() if residual else ():
        text += FEEDFORWARD.format(i=i, name=p.name) if p.charges_dendrite else ""
        text += LEARNING_RATE.format(i=i, name=p.name) if spiking else ""
    return text
