"""Read-outs: from spikes and membranes to a code, and what a run has cost.

Small siblings; each takes a `Response` of a spiking circuit and returns one value for each sample
and neuron. The code that a simulation returns is `tapered`; the others trade delay for precision.

==================  =========================================================  ====================
read-out            what it computes                                           needs
==================  =========================================================  ====================
spike_count         theta n_spikes / (window / tau)                            counts, or spikes
tapered             the same in a window that rises and falls as a parabola    nothing, or spikes
exponential         the same with a window that fades into the past            spikes
membrane            T(mean u) in the last part of the run                      the trace of u
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
    """``a = quantum tau rate`` in the last part of the run.

    Parameters
    ----------
    response : Response
        Of a spiking circuit.
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
    return _signed(response, response.quantum * response.tau * rates)


def tapered(response: Response, window: float | None = None) -> FloatArray:
    """The count in a window that rises and falls as a parabola.

    ``a = theta sum_t w_t n_t / (sum_t w_t dt / tau)``. A plain count may be wrong by one spike at
    each edge of its window, an error of ``theta tau / window``; here a spike at an edge hardly
    counts (Welch's window), and the error falls with the square of the window. That makes room for
    a shorter one, which lies further from the onset.

    Parameters
    ----------
    response : Response
    window : float in (0, 1], optional
        That of the simulation unless told; any other one needs the spikes.

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
    spikes, clock = _spikes(response)
    assert response.counts is not None
    assert response.tau is not None
    assert response.quantum is not None
    weights = clock.taper(DEFAULT_WINDOW if window is None else window)
    whole = clock.taper_sum(DEFAULT_WINDOW if window is None else window) * (
        clock.dt / response.tau
    )
    n_samples, n_cells = response.counts.shape
    weighed = spikes.weighted_counts(n_samples, n_cells, weights)
    return _signed(response, response.quantum * weighed / whole)


def exponential(response: Response, tau: Any | None = None) -> FloatArray:
    """What an exponential filter of the spikes holds at the end.

    A spike that lies m steps back weighs ``exp(-m dt / tau)``; the weights of all steps add up to
    one, so that a steady rate is read without bias, however short the run and however long a step.

    Parameters
    ----------
    response : Response
        With its spikes.
    tau : float or Brian2 quantity, optional
        Time constant of the filter in seconds; five times that of the membrane unless told.

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
    spikes, clock = _spikes(response)
    assert response.quantum is not None
    assert response.tau is not None
    assert response.counts is not None
    constant = 5 * response.tau if tau is None else to_positive_seconds(tau, "tau")
    decay = np.exp(-clock.dt / constant)
    weights = decay ** np.arange(clock.n_steps - 1, -1, -1)
    weights *= response.quantum * response.tau / clock.dt / weights.sum()
    shape = response.counts.shape
    place = spikes.sample * shape[1] + spikes.neuron
    total = np.bincount(place, weights=weights[spikes.step], minlength=shape[0] * shape[1])
    return _signed(response, total.reshape(shape))


def membrane(response: Response, transfer: Transfer, window: float = DEFAULT_WINDOW) -> FloatArray:
    """``T(mean u)`` in a tapered window; its samples and neurons are those of the trace.

    Closer to the fixed point than a count, since a mean has no quanta.

    Parameters
    ----------
    response : Response
        With the trace of u.
    transfer : Transfer
        That of the circuit.
    window : float in (0, 1], default=0.25
        The last part of the run, weighed as in `tapered`.

    Returns
    -------
    (n_samples, n_neurons)

    Raises
    ------
    ValueError
        If u was not recorded in that part.

    Examples
    --------
    >>> from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
    >>> circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> run = circuit.simulate({"x": [[1.0, 0.0]]}, 0.2, dt=1e-4, record=("u",))
    >>> membrane(run, SoftThreshold(0.1)).round(3)
    array([[0.9, 0. ]])
    """
    if "u" not in response.traces or response.clock is None:
        raise ValueError("The trace of u is missing; simulate with record=('u',).")
    steps = np.rint(response.times / response.clock.dt).astype(np.int64)
    weights = response.clock.taper(window)[steps]
    if not weights.any():
        raise ValueError(
            f"No value of u was recorded in the last {window} of the run. Record with every=1."
        )
    one_sided = replace(transfer, two_sided=transfer.two_sided and response.counts is None)
    mean = np.average(response.traces["u"], axis=0, weights=weights)
    return _signed(response, one_sided(mean), transfer.two_sided)


def latency(response: Response) -> NDArray[np.float64]:
    """Seconds to the first spike, infinite for the silent.

    The strongest are the first: the order of the first spikes is a code of its own.

    Parameters
    ----------
    response : Response
        With its spikes.

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
    spikes, clock = _spikes(response)
    assert response.counts is not None
    first = np.full(response.counts.shape, np.inf)
    np.minimum.at(first, (spikes.sample, spikes.neuron), spikes.step * clock.dt)
    return first


def event_energy(
    response: Response, per_spike: float, per_synaptic_event: float
) -> NDArray[np.float64]:
    """What the spikes of each sample have cost, in the unit of the two prices.

    Parameters
    ----------
    response : Response
    per_spike, per_synaptic_event : float
        Of the hardware in question; Loihi, for example, is quoted with 1.7e-12 and 23.6e-12 joules
        (Davies et al. 2018, IEEE Micro 38(1)).

    Returns
    -------
    (n_samples,) float64

    Raises
    ------
    ValueError
        If the circuit is not a spiking one.

    Examples
    --------
    >>> from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
    >>> circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> run = circuit.simulate({"x": [[1.0, 0.0]]}, 0.2, dt=1e-4, record=("spikes",))
    >>> event_energy(run, per_spike=2.0, per_synaptic_event=0.0) == 2.0 * len(run.spikes)
    array([ True])
    """
    if "spikes" not in response.events:
        raise ValueError("This response counted no spikes; it needs a circuit of SpikingNeuron.")
    events = response.events
    return np.asarray(per_spike * events["spikes"] + per_synaptic_event * events["synaptic_events"])


def _spikes(response: Response) -> tuple[Spikes, Clock]:
    if response.spikes is None or response.clock is None:
        raise ValueError("The spikes were not kept; simulate with record=('spikes',).")
    return response.spikes, response.clock


def _signed(response: Response, cells: FloatArray, pairs: bool | None = None) -> FloatArray:
    """The code of cells: of pairs, the positive one less the negative one."""
    if pairs is None:
        pairs = cells.shape[1] == 2 * response.code.shape[1]
    if not pairs or response.counts is None:
        return cells
    n = cells.shape[1] // 2
    return np.asarray(cells[:, :n] - cells[:, n:])
