"""Input cells: the form in which a stimulus x enters the circuit.

`Dictionary.inputs` selects the kind of an input population (default: analog). The time average of
the input is x for all kinds.

===============  ======================================================  ==========================
kind             output of an input cell                                 error
===============  ======================================================  ==========================
AnalogInput      a constant current                                      none
PoissonInput     random spikes at the rate ``|x| / (quantum tau)``       noise, smaller for longer
                                                                         windows, smaller quanta
SpikingResidual  spikes that encode the residual ``r = x - Phi a``       a delay of less than one
                                                                         quantum of the residual
===============  ======================================================  ==========================

Spikes are signed, as those of a pair of ON and OFF cells. Spiking inputs require a circuit of
spiking neurons. A `SpikingResidual` neuron fires at most once per step, so that
``threshold >= (dt / tau) max |x|`` must hold; otherwise the run raises ValueError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from spikelca.utils.validation import FloatArray, check_integer, check_positive

STEPS_PER_DRAW = 1024
"""Steps per draw of random numbers; the numbers do not depend on it."""


@dataclass(frozen=True)
class AnalogInput:
    """Constant input current x.

    Examples
    --------
    >>> from spikelca import Dictionary
    >>> Dictionary("x", np.eye(2)).inputs
    AnalogInput()
    """


@dataclass(frozen=True)
class PoissonInput:
    """Random spikes of a Poisson process with the rate ``|x| / (quantum tau)``.

    The number of spikes of an input in a step has a Poisson distribution with the mean
    ``(dt / tau) |x| / quantum``, so that rate and noise do not depend on the step. While the
    neurons of the code are silent, their potentials have the variance (lateral wiring,
    ``k = dt / tau``)::

        Var u_j = quantum / (2 - k) sum_i w^2 Phi_ij^2 |x_i|

    A spike of input i adds ``quantum sign(x_i)`` to its residual neuron r_i (residual wiring), or
    ``w Phi_ij quantum sign(x_i)`` to the dendrite u_j of every neuron (lateral wiring), where it
    decays with tau.

    Parameters
    ----------
    quantum : float
        Amplitude of one spike, in the unit of x. Smaller quanta give more spikes and less noise.
    seed : int
        Seed of the spikes, which are the same in every run and engine. The stream depends on seed,
        modality and sample number.

    Raises
    ------
    ValueError
        If the quantum is not > 0, or the seed is not a whole number >= 0.

    Examples
    --------
    >>> steps, inputs = PoissonInput(0.5, seed=0).draw_spikes(np.array([0.0, 0.5]), 0.1, 1000, 0)
    >>> bool((inputs == 1).all()), 80 < len(steps) < 120
    (True, True)
    """

    quantum: float
    seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "quantum", check_positive(self.quantum, "quantum"))
        object.__setattr__(self, "seed", check_integer(self.seed, "seed", 0))

    def draw_spikes(
        self,
        x: FloatArray,
        k: Any,
        n_steps: int,
        sample: int,
        first_step: int = 0,
        modality: str = "",
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw the step and input of each spike of one sample, sorted by step, then input.

        An input that fires several times in a step is listed several times.

        Steps are drawn in blocks that start at multiples of `STEPS_PER_DRAW`, each from a stream of
        its own, so that a run in pieces has the same spikes as one run.

        Parameters
        ----------
        x : (n_inputs,)
        k : float
            dt / tau.
        n_steps : int
        sample : int
            Sample number, which with seed and modality determines the stream.
        first_step : int, default=0
            Number of steps before the run.
        modality : str, default=""
            Name of the modality: equal seeds give independent spikes in two modalities.

        Returns
        -------
        steps, inputs : (n_spikes,) int64
            Steps are counted from the start of the run.
        """
        key = [self.seed, crc32(modality.encode()), sample]
        mean = k * np.abs(x) / self.quantum
        nonzero = np.flatnonzero(mean)
        steps, inputs, end = [], [], first_step + n_steps
        for block in range(first_step // STEPS_PER_DRAW, -(-end // STEPS_PER_DRAW)):
            rng, start = np.random.default_rng([*key, block]), block * STEPS_PER_DRAW
            n_drawn = min(STEPS_PER_DRAW, end - start)
            counts = rng.poisson(mean[nonzero], (n_drawn, len(nonzero)))
            n_before = max(first_step - start, 0)
            counts = counts[n_before:]
            step, index = np.nonzero(counts)
            copies = counts[step, index]
            steps.append(np.repeat(step + (start + n_before - first_step), copies))
            inputs.append(np.repeat(nonzero[index], copies))
        return np.concatenate(steps), np.concatenate(inputs)


@dataclass(frozen=True)
class SpikingResidual:
    """Signed spikes of the residual neurons, which have no analog output.

    ::

        tau dr/dt = x - r                     on a spike of neuron j:  r_i -= Phi_ij theta
        tau dp/dt = r
        spike when |p| >= threshold;  reset  p -= sign(p) threshold
        on a spike of input i:                v_j += w_i Phi_ij sign(p) threshold

    The spikes charge the spike generators v of the code directly and bypass the leaky dendrites, so
    that the input is not filtered twice. The floor of v is lowered by two input spikes. Requires
    the wiring "residual" and a soft threshold.

    Parameters
    ----------
    threshold : float, default=0.02
        Amplitude of one spike, in the unit of x times tau.

    Raises
    ------
    ValueError
        If the threshold is not > 0.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
    >>> dictionary = Dictionary("x", np.eye(2), inputs=SpikingResidual(threshold=0.01))
    >>> circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), [dictionary], wiring="residual")
    >>> circuit.simulate({"x": [[0.0, 1.0]]}, duration=1.0).code.round(2)
    array([[0. , 0.9]])
    """

    threshold: float = 0.02

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", check_positive(self.threshold, "threshold"))


Inputs = AnalogInput | PoissonInput | SpikingResidual
"""The kinds of input cells of a dictionary."""
