"""Neurons: frozen values whose docstring is their differential equation.

A neuron says *what* is simulated; an engine says *how*. Both kinds share one dendrite, a leaky
integrator u, and reach the same code: graded in the rate neuron, counted in spikes in the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from spikelca.utils.validation import check_positive, to_positive_seconds


@dataclass(frozen=True)
class RateNeuron:
    """A leaky integrator with a graded output.

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
        If tau is not a time above zero.

    Examples
    --------
    >>> RateNeuron(tau=0.02).tau
    0.02
    """

    tau: float = 10e-3

    def __post_init__(self) -> None:
        object.__setattr__(self, "tau", to_positive_seconds(self.tau, "tau"))


@dataclass(frozen=True)
class SpikingNeuron:
    """A leaky dendrite u that feeds a non-leaky spike generator v.

    ::

        tau du/dt = -u + b + d(t)                    on a spike of j:  u_i -= L_ij theta
        tau dv/dt = (u - lam) [u > lam or v > floor]
        spike when v >= theta;  reset  v -= theta
        a = theta n_spikes / (window / tau)

    ======  ====================================================  ==============
    u       membrane potential of the dendrite                    dimensionless
    v       charge of the spike generator                         as u
    lam     threshold of the transfer function                    as u
    theta   activity quantum carried by one spike                 as u
    floor   below it silent neurons do not drift                  as u
    tau     membrane time constant                                seconds
    ======  ====================================================  ==============

    The reset subtracts, so that no overshoot is lost, and it *is* the self term of the inhibition.
    One neuron fires at most once a step: a code above ``theta tau / dt`` saturates.

    Parameters
    ----------
    tau : float or Brian2 quantity, default=10 ms
        Membrane time constant.
    quantum : float, default=0.02
        theta.
    floor : float, optional
        Floor of v; ``-quantum`` unless told.

    Raises
    ------
    ValueError
        If tau or quantum is not above zero, or the floor is above zero.

    Examples
    --------
    >>> SpikingNeuron(quantum=0.05).floor
    -0.05
    """

    tau: float = 10e-3
    quantum: float = 0.02
    floor: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tau", to_positive_seconds(self.tau, "tau"))
        object.__setattr__(self, "quantum", check_positive(self.quantum, "quantum"))
        floor = -self.quantum if self.floor is None else float(self.floor)
        if not -math.inf < floor <= 0:
            raise ValueError(f"floor is {floor}; a finite number at or below zero was awaited.")
        object.__setattr__(self, "floor", floor)

    @property
    def v_floor(self) -> float:
        """The floor of v, a number in any case."""
        return -self.quantum if self.floor is None else self.floor


Neuron = RateNeuron | SpikingNeuron
