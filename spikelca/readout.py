"""Read-outs: codes from spikes and membrane potentials, and the event energy of a run.

Each read-out takes a `Response` of a spiking circuit and returns one value per sample and neuron.
The code of a simulation is `tapered`; the other read-outs have another delay and precision.

==================  =========================================================  ====================
read-out            value                                                      requires
==================  =========================================================  ====================
spike_count         theta n_spikes / (window / tau)                            counts, or spikes
tapered             the same with a parabolic window                           nothing, or spikes
exponential         the same with a window that decays into the past           spikes
membrane            T(mean u) in the window                                    the trace of u
latency             time of the first spike                                    spikes
==================  =========================================================  ====================
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.engines import DEFAULT_WINDOW, Clock, Response, Spikes
from spikelca.model.transfer import Transfer
from spikelca.utils.validation import FloatArray, to_positive_seconds


def spike_count(response: Response, window: float | None = None) -> FloatArray:
    """Compute ``a = quantum tau rate`` in the final window of the run.

    Parameters
    ----------
    response : Response
        Response of a spiking circuit.
    window : float in (0, 1], optional
        As in `Response.rates`.

    Returns
    -------
    (n_samples, n_neurons)

    Examples
    --------
    >>> from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
    >>> circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> run = circuit.simulate({"x": [[1.0, 0.0]]}, 0.2, dt=1e-4, record=("spikes",))
    >>> spike_count(run, window=0.5).round(2)
    array([[0.9, 0. ]])
    """
    rates = response.rates(window)
    assert response.quantum is not None
    assert response.tau is not None
    return _merge_on_off(response, response.quantum * response.tau * rates)


def tapered(response: Response, window: float | None = None) -> FloatArray:
    """Compute the code from a spike count with a parabolic window (Welch's window).

    ``a = theta sum_t w_t n_t / (sum_t w_t dt / tau)``. A plain count may be wrong by one spike at
    each edge of its window, an error of ``theta tau / window``. With the parabolic window, spikes
    at the edges have little weight and the error decreases with the square of the window, so the
    window can be shorter and further from the onset.

    Parameters
    ----------
    response : Response
    window : float in (0, 1], optional
        Read-out window (default: that of the simulation); any other one requires the spikes.

    Returns
    -------
    (n_samples, n_neurons)

    Examples
    --------
    >>> from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
    >>> circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> run = circuit.simulate({"x": [[1.0, 0.0]]}, 0.2, dt=1e-4, record=("spikes",))
    >>> tapered(run, window=0.5).round(2)
    array([[0.9, 0. ]])
    """
    if window is None and response.counts is not None:
        return response.code
    spikes, clock = _require_spikes(response)
    assert response.counts is not None
    assert response.tau is not None
    assert response.quantum is not None
    weights = clock.taper(DEFAULT_WINDOW if window is None else window)
    weight_sum = clock.taper_sum(DEFAULT_WINDOW if window is None else window) * (
        clock.dt / response.tau
    )
    n_samples, n_cells = response.counts.shape
    weighted_counts = spikes.weighted_counts(n_samples, n_cells, weights, clock.first_step)
    return _merge_on_off(response, response.quantum * weighted_counts / weight_sum)


def exponential(response: Response, tau: Any | None = None) -> FloatArray:
    """Compute the value of an exponential filter of the spikes at the end of the run.

    A spike m steps before the end has the weight ``exp(-m dt / tau)``. The weights are normalised,
    so that a constant rate is read without bias for any duration and step.

    Parameters
    ----------
    response : Response
        Response with recorded spikes.
    tau : float or Brian2 quantity, optional
        Time constant of the filter in seconds (default: five times that of the membrane).

    Returns
    -------
    (n_samples, n_neurons)

    Examples
    --------
    >>> from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
    >>> circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> run = circuit.simulate({"x": [[1.0, 0.0]]}, 0.2, dt=1e-4, record=("spikes",))
    >>> exponential(run).round(1)
    array([[0.9, 0. ]])
    """
    spikes, clock = _require_spikes(response)
    assert response.quantum is not None
    assert response.tau is not None
    assert response.counts is not None
    constant = 5 * response.tau if tau is None else to_positive_seconds(tau, "tau")
    decay = np.exp(-clock.dt / constant)
    weights = decay ** np.arange(clock.n_steps - 1, -1, -1)
    weights *= response.quantum * response.tau / clock.dt / weights.sum()
    shape = response.counts.shape
    index = spikes.sample * shape[1] + spikes.neuron
    total = np.bincount(
        index, weights=weights[spikes.step - clock.first_step], minlength=shape[0] * shape[1]
    )
    return _merge_on_off(response, total.reshape(shape))


def membrane(response: Response, transfer: Transfer, window: float = DEFAULT_WINDOW) -> FloatArray:
    """Compute ``T(mean u)`` in a tapered window, for the samples and neurons of the trace.

    It is closer to the fixed point than a count, because a mean is not quantised.

    Parameters
    ----------
    response : Response
        Response with the trace of u.
    transfer : Transfer
        Transfer function of the circuit.
    window : float in (0, 1], default=0.25
        Final fraction of the run, weighted as in `tapered`.

    Returns
    -------
    (n_samples, n_neurons)

    Raises
    ------
    ValueError
        If u was not recorded in the window.

    Examples
    --------
    >>> from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
    >>> circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> run = circuit.simulate({"x": [[1.0, 0.0]]}, 0.2, dt=1e-4, record=("u",))
    >>> membrane(run, SoftThreshold(0.1)).round(3)
    array([[0.9, 0. ]])
    """
    if "u" not in response.traces or response.clock is None:
        raise ValueError("The response must contain the trace of u. Simulate with record=('u',).")
    steps = np.rint(response.times / response.clock.dt).astype(np.int64)
    steps -= response.clock.first_step
    weights = response.clock.taper(window)[steps]
    if not weights.any():
        raise ValueError(
            f"u must be recorded in the last {window} of the run, got no value. Use every=1."
        )
    one_sided = replace(transfer, two_sided=transfer.two_sided and response.counts is None)
    mean = np.average(response.traces["u"], axis=0, weights=weights)
    return _merge_on_off(response, one_sided(mean), transfer.two_sided)


def latency(response: Response) -> NDArray[np.float64]:
    """Compute the time of the first spike in seconds, infinite for neurons without spikes.

    Neurons with the strongest drive fire first, so the order of the first spikes is also a code.

    Parameters
    ----------
    response : Response
        Response with recorded spikes.

    Returns
    -------
    (n_samples, n_cells) float64

    Examples
    --------
    >>> from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
    >>> circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> run = circuit.simulate({"x": [[1.0, 0.0]]}, 0.2, dt=1e-4, record=("spikes",))
    >>> latency(run)
    array([[0.0035,    inf]])
    """
    spikes, clock = _require_spikes(response)
    assert response.counts is not None
    first = np.full(response.counts.shape, np.inf)
    np.minimum.at(
        first, (spikes.sample, spikes.neuron), (spikes.step - clock.first_step) * clock.dt
    )
    return first


def event_energy(
    response: Response, per_spike: float, per_synaptic_event: float
) -> NDArray[np.float64]:
    """Compute the energy of the spikes and synaptic events of each sample.

    Parameters
    ----------
    response : Response
    per_spike, per_synaptic_event : float
        Energy per event on the hardware, in any unit; for example 1.7e-12 and 23.6e-12 joules for
        Loihi (Davies et al. 2018, IEEE Micro 38(1)).

    Returns
    -------
    (n_samples,) float64
        In the unit of the two parameters.

    Raises
    ------
    ValueError
        If the circuit is not a spiking circuit.

    Examples
    --------
    >>> from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
    >>> circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> run = circuit.simulate({"x": [[1.0, 0.0]]}, 0.2, dt=1e-4, record=("spikes",))
    >>> event_energy(run, per_spike=2.0, per_synaptic_event=0.0) == 2.0 * len(run.spikes)
    array([ True])
    """
    if "spikes" not in response.events:
        raise ValueError(
            "The response must be of a circuit of SpikingNeuron, got one without spike counts."
        )
    events = response.events
    return np.asarray(per_spike * events["spikes"] + per_synaptic_event * events["synaptic_events"])


def _require_spikes(response: Response) -> tuple[Spikes, Clock]:
    if response.spikes is None or response.clock is None or not response.has_all_spikes:
        raise ValueError(
            "The response must contain the spikes of all neurons and samples. Simulate with "
            "record=('spikes',), without neurons= and samples=."
        )
    return response.spikes, response.clock


def _merge_on_off(response: Response, cells: FloatArray, on_off: bool | None = None) -> FloatArray:
    """Subtract the values of OFF cells from those of ON cells, if the circuit has such pairs."""
    if on_off is None:
        on_off = cells.shape[1] == 2 * response.code.shape[1]
    if not on_off or response.counts is None:
        return cells
    n = cells.shape[1] // 2
    return np.asarray(cells[:, :n] - cells[:, n:])
