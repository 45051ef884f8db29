"""Input cells: how a stimulus x reaches the circuit.

Small frozen siblings; a `Dictionary` says which kind its input population is of, analog unless
told. All of them bring in x in the mean over time.

===============  ======================================================  ==========================
kind             what a cell sends                                       what it adds
===============  ======================================================  ==========================
AnalogInput      a constant current                                      nothing: exact
PoissonInput     random spikes at the rate ``|x| / (quantum tau)``       noise: less in a longer
                                                                         window, a smaller quantum
SpikingResidual  spikes that count off the error ``r = x - Phi a``       a delay of less than one
                                                                         quantum of error
===============  ======================================================  ==========================

A spike has the sign of what it stands for: an ON and an OFF cell side by side. Cells fire at most
once a step, so that ``quantum >= (dt / tau) max |x|`` must hold; a run that breaks it is refused.
Spiking inputs belong to a circuit of spiking neurons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.utils.validation import FloatArray, check_positive

STEPS_PER_DRAW = 1024
"""Steps whose random numbers are drawn together; the numbers do not depend on it."""


@dataclass(frozen=True)
class AnalogInput:
    """A constant current: x itself.

    Examples
    --------
    >>> from spikelca import Dictionary
    >>> Dictionary("x", np.eye(2)).inputs
    AnalogInput()
    """


@dataclass(frozen=True)
class PoissonInput:
    """Random spikes: in each step a cell fires with the chance ``(dt / tau) |x| / quantum``.

    A spike carries ``quantum sign(x)`` into what the stimulus charges (the dendrites u in the
    lateral wiring, the residual neuron r in the residual one), where it fades with tau.

    Parameters
    ----------
    quantum : float
        What one spike carries, in the unit of x. Smaller quanta mean more spikes and less noise.
    seed : int
        Of the spikes, which are the same in every run and engine. Sample number and seed make the
        stream, so that two modalities need two seeds.

    Raises
    ------
    ValueError
        If the quantum is not above zero, or the seed is not a whole number from zero on.

    Examples
    --------
    >>> steps, cells = PoissonInput(0.5, seed=0).draw_spikes(np.array([0.0, 0.5]), 0.1, 1000, 0)
    >>> bool((cells == 1).all()), 80 < len(steps) < 120
    (True, True)
    """

    quantum: float
    seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "quantum", check_positive(self.quantum, "quantum"))
        if not (isinstance(self.seed, (int, np.integer)) and self.seed >= 0):
            raise ValueError(f"seed is {self.seed!r}; a whole number from zero on was awaited.")

    def draw_spikes(
        self, x: FloatArray, k: Any, n_steps: int, sample: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Step and input of each spike of one sample, in order of step, then input.

        Parameters
        ----------
        x : (n_inputs,)
        k : float
            dt / tau.
        n_steps : int
        sample : int
            Its number, which together with the seed makes the stream.

        Returns
        -------
        steps, cells : (n_spikes,) int64
        """
        chance = k * np.abs(x) / self.quantum
        live = np.flatnonzero(chance)
        rng, steps, cells = np.random.default_rng([self.seed, sample]), [], []
        for first in range(0, n_steps, STEPS_PER_DRAW):
            drawn = rng.random((min(STEPS_PER_DRAW, n_steps - first), len(live))) < chance[live]
            step, place = np.nonzero(drawn)
            steps.append(step + first)
            cells.append(live[place])
        return np.concatenate(steps), np.concatenate(cells)


@dataclass(frozen=True)
class SpikingResidual:
    """Signed spikes of the residual neurons: no analog value leaves an input cell.

    ::

        tau dr/dt = x - r                     on a spike of neuron j:  r_i -= Phi_ij theta
        tau dp/dt = r
        spike when |p| >= threshold;  reset  p -= sign(p) threshold
        on a spike of input i:                v_j += w_i Phi_ij sign(p) threshold

    The charge goes past the leaky dendrites straight into the spike generators v of the code, so
    that nothing is filtered twice; v sinks no deeper than its floor, which lies two input spikes
    deeper here. Needs the wiring "residual" and a soft threshold.

    Parameters
    ----------
    threshold : float, default=0.02
        What one spike carries, in the unit of x times tau.

    Raises
    ------
    ValueError
        If the threshold is not above zero.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
    >>> seen = Dictionary("x", np.eye(2), inputs=SpikingResidual(threshold=0.01))
    >>> circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), [seen], wiring="residual")
    >>> circuit.simulate({"x": [[0.0, 1.0]]}, duration=1.0).code.round(2)
    array([[0. , 0.9]])
    """

    threshold: float = 0.02

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", check_positive(self.threshold, "threshold"))


Inputs = AnalogInput | PoissonInput | SpikingResidual
"""What the input cells of a dictionary can be."""
