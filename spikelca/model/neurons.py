"""Neurons: frozen values whose docstrings state their differential equations.

Both kinds have the same dendrite, a leaky integrator u, and converge to the same code: the graded
output of a rate neuron, the firing rate of a spiking neuron.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from spikelca.utils.validation import (
    check_positive,
    reject_dimension,
    to_positive_seconds,
)


@dataclass(frozen=True)
class Neuron:
    """Base class of neurons: a membrane time constant.

    A subclass describes a neuron; an engine that implements its equations lists it in
    `Engine.neurons`.

    Parameters
    ----------
    tau : float or Brian2 quantity, default=10 ms
        Membrane time constant.

    Raises
    ------
    ValueError
        If tau is not a time > 0.

    Examples
    --------
    >>> issubclass(RateNeuron, Neuron) and issubclass(SpikingNeuron, Neuron)
    True
    """

    tau: float = 10e-3

    def __post_init__(self) -> None:
        object.__setattr__(self, "tau", to_positive_seconds(self.tau, "tau"))


@dataclass(frozen=True)
class RateNeuron(Neuron):
    """Leaky integrator with a graded output.

    ::

        tau du/dt = -u + b + d(t) - L a        a = T(u)

    ======  ====================================================  ==============
    u       membrane potential                                    dimensionless
    b       drive, sum_i w_i Phi_i^T x_i                          as u
    d(t)    driver current                                        as u
    L       lateral inhibition, sum_i w_i Phi_i^T Phi_i - 1       dimensionless
    a       output, the code                                      as u
    tau     membrane time constant                                seconds
    ======  ====================================================  ==============

    Parameters
    ----------
    tau : float or Brian2 quantity, default=10 ms
        Membrane time constant.

    Raises
    ------
    ValueError
        If tau is not a time > 0.

    Examples
    --------
    >>> RateNeuron(tau=0.02).tau
    0.02
    """


@dataclass(frozen=True)
class SpikingNeuron(Neuron):
    """Leaky dendrite u that charges a non-leaky spike generator v.

    ::

        tau du/dt = -u + b + d(t)                    on a spike of j:  u_i -= L_ij theta
        tau dv/dt = (u - lam) [u > lam or v > floor]     (soft threshold)
        tau dv/dt = u [u > lam]                          (hard threshold)
        spike when v >= theta;  reset  v -= theta
        a = theta n_spikes / (window / tau)

    ======  ====================================================  ==============
    u       membrane potential of the dendrite                    dimensionless
    v       charge of the spike generator                         as u
    lam     threshold of the transfer function                    as u
    theta   quantum: amplitude of one spike                       as u
    floor   lower bound of v for silent neurons                   as u
    tau     membrane time constant                                seconds
    ======  ====================================================  ==============

    The reset subtracts theta, so no overshoot is lost; it is also the self term of the inhibition.
    A neuron fires at most once per step: a code above ``theta tau / dt`` saturates.

    Parameters
    ----------
    tau : float or Brian2 quantity, default=10 ms
        Membrane time constant.
    quantum : float, default=0.02
        theta, the amplitude of one spike.
    floor : float, optional
        Lower bound of v (default: ``-quantum``).

    Raises
    ------
    ValueError
        If tau or quantum is not > 0, or the floor is > 0 or not finite.

    Examples
    --------
    >>> SpikingNeuron(quantum=0.05).floor
    -0.05
    """

    quantum: float = 0.02
    floor: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "quantum", check_positive(self.quantum, "quantum"))
        if self.floor is not None:
            reject_dimension(self.floor, "floor")
        floor = -self.quantum if self.floor is None else float(self.floor)
        if not -math.inf < floor <= 0:
            raise ValueError(f"floor must be a finite number <= 0, got {floor}.")
        object.__setattr__(self, "floor", floor)

    @property
    def v_floor(self) -> float:
        """The lower bound of v, with the default resolved."""
        return -self.quantum if self.floor is None else self.floor
