"""Spikes and traces of a simulation as a Neo block: what tools of electrophysiology read.

=================  ===================================  ==========================================
of a simulation    in Neo                               annotated with
=================  ===================================  ==========================================
run                ``Block``                            dt, n_steps, tau (s), quantum, window
sample             ``Segment``                          sample
cell               ``SpikeTrain``, in seconds           sample, neuron, sign (-1: the negative half
                                                        of a signed pair)
trace              ``AnalogSignal``, dimensionless,     of each channel its neuron and sign, or its
                   with its sampling period             input
=================  ===================================  ==========================================

A silent cell has an empty train: it was watched. A spike stands at the start of its step, as in
`Response`. What a block holds can be written by Neo in the formats it knows (NIX, NWB, ...).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikelca.engines import Clock, Response, Spikes
from spikelca.utils.optional import require
from spikelca.utils.validation import check_indices, to_positive_seconds


def to_neo(
    response: Response, *, neurons: ArrayLike | None = None, samples: ArrayLike | None = None
) -> Any:
    """Spikes and traces of a simulation as a Neo block.

    Parameters
    ----------
    response : Response
        Of a simulation with ``record=("spikes",)``, or traces, or both.
    neurons, samples : list of int, optional
        Those that the traces hold, if the simulation was told to keep some only.

    Returns
    -------
    neo.Block
        One segment for each sample.

    Raises
    ------
    ValueError
        If nothing was recorded, or the traces are of other neurons or samples.
    ImportError
        If neo is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
    >>> circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> run = circuit.simulate({"x": [[0.9, 0.0]]}, 0.1, dt=1e-4, record=("spikes",))
    >>> block = to_neo(run)
    >>> [len(train) for train in block.segments[0].spiketrains] == [len(run.spikes), 0]
    True
    """
    neo = require("neo", "neo")
    if response.clock is None or (response.spikes is None and not response.traces):
        raise ValueError(
            "The response holds neither spikes nor traces; simulate with record=('spikes', 'u')."
        )
    kept = check_indices(samples, len(response.code), "samples").tolist()
    chosen = _cell_indices(check_indices(neurons, response.code.shape[1], "neurons"), response)
    _check_traces(response, len(kept), len(chosen))
    block = neo.Block(name="spikelca", **_annotations(response))
    trains = _spike_trains(neo, response)
    for sample in range(len(response.code)):
        segment = neo.Segment(name=f"sample {sample}", sample=sample)
        segment.spiketrains.extend(next(trains, []))
        if sample in kept:
            signals = _analog_signals(neo, response, kept.index(sample), chosen)
            segment.analogsignals.extend(list(signals))
        block.segments.append(segment)
    return block


def from_neo(block: Any) -> tuple[Spikes, Clock]:
    """The spikes of a block that `to_neo` made, and the clock that they tick to.

    Parameters
    ----------
    block : neo.Block
        As it was made, or read back from a file.

    Returns
    -------
    Spikes, Clock
        As in the `Response` that the block was made of.

    Raises
    ------
    ValueError
        If the block is of another origin, or its spikes are not on the grid of its steps.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
    >>> circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> run = circuit.simulate({"x": [[0.9, 0.4]]}, 0.1, dt=1e-4, record=("spikes",))
    >>> spikes, clock = from_neo(to_neo(run))
    >>> np.array_equal(spikes.step, run.spikes.step), clock == run.clock
    (True, True)
    """
    told = getattr(block, "annotations", {})
    if not {"dt", "n_steps"} <= told.keys():
        raise ValueError(
            "found no block of a simulation; one that to_neo has made was awaited, which is "
            "annotated with dt and n_steps."
        )
    clock = Clock(to_positive_seconds(told["dt"], "dt"), int(told["n_steps"]))
    trains = [train for segment in block.segments for train in segment.spiketrains]
    found = np.concatenate(
        [np.zeros((3, 0), np.int64), *(_read_train(t, clock) for t in trains)], axis=1
    )
    sample, neuron, step = found[:, np.lexsort((found[1], found[2], found[0]))]
    return Spikes(sample, neuron, step), clock


def _annotations(response: Response) -> dict[str, Any]:
    """What the whole run has in common, in seconds; what does not apply is left out."""
    assert response.clock is not None
    told = {
        "dt": response.clock.dt,
        "n_steps": response.clock.n_steps,
        "tau": response.tau,
        "quantum": response.quantum,
        "window": response.window,
    }
    return {name: value for name, value in told.items() if value is not None}


def _cell_indices(neurons: NDArray[np.int64], response: Response) -> NDArray[np.int64]:
    """The cells of some neurons: behind all of them the negative halves, if codes are signed."""
    n = response.code.shape[1]
    pairs = response.counts is not None and response.counts.shape[1] == 2 * n
    return np.concatenate([neurons, neurons + n]) if pairs else neurons


def _check_traces(response: Response, n_samples: int, n_cells: int) -> None:
    for name, trace in response.traces.items():
        awaited = (n_samples, trace.shape[2] if name.startswith("r:") else n_cells)
        if trace.shape[1:] != awaited:
            raise ValueError(
                f"The trace of {name!r} holds (samples, neurons) {trace.shape[1:]}; {awaited} were "
                "awaited. Hand the samples= and neurons= that the simulation was told to keep."
            )


def _cell_annotations(cell: NDArray[np.int64], n_neurons: int) -> dict[str, NDArray[np.int64]]:
    """What cells are called: the number of the neuron, and its sign."""
    return {"neuron": cell % n_neurons, "sign": np.where(cell < n_neurons, 1, -1)}


def _spike_trains(neo: Any, response: Response) -> Iterator[list[Any]]:
    """The trains of each sample, one for each cell."""
    if response.spikes is None:
        return
    assert response.clock is not None
    assert response.counts is not None
    spikes, clock, n_cells = response.spikes, response.clock, response.counts.shape[1]
    called = _cell_annotations(np.arange(n_cells), response.code.shape[1])
    place = spikes.sample * n_cells + spikes.neuron
    order = np.argsort(place, kind="stable")
    ends = np.searchsorted(place[order], np.arange(response.counts.size + 1))
    times = spikes.step[order] * clock.dt
    for sample in range(len(response.counts)):
        first = sample * n_cells
        yield [
            neo.SpikeTrain(
                times[ends[first + cell] : ends[first + cell + 1]],
                units="s",
                t_start=0.0,
                t_stop=clock.n_steps * clock.dt,
                sampling_rate=1 / clock.dt * _quantities().Hz,
                name=f"cell {cell}",
                sample=sample,
                cell=cell,
                **{name: int(values[cell]) for name, values in called.items()},
            )
            for cell in range(n_cells)
        ]


def _analog_signals(
    neo: Any, response: Response, row: int, cells: NDArray[np.int64]
) -> Iterator[Any]:
    """The traces of one sample; its channels are cells or inputs."""
    times = response.times
    assert response.clock is not None
    period = times[1] - times[0] if len(times) > 1 else response.clock.dt
    for name, trace in response.traces.items():
        inputs = name.startswith("r:")
        called = (
            {"input": np.arange(trace.shape[2])}
            if inputs
            else _cell_annotations(cells, response.code.shape[1])
        )
        yield neo.AnalogSignal(
            trace[:, row],
            units="dimensionless",
            t_start=0.0 * _quantities().s,
            sampling_period=period * _quantities().s,
            name=name,
            array_annotations=called,
        )


def _quantities() -> Any:
    return require("quantities", "neo")


def _read_train(train: Any, clock: Clock) -> NDArray[np.int64]:
    """Sample, cell and step of the spikes of a train: (3, n_spikes)."""
    times = np.asarray(train.rescale("s").magnitude, dtype=np.float64)
    step = np.rint(times / clock.dt).astype(np.int64)
    told = train.annotations
    if not {"sample", "cell"} <= told.keys():
        raise ValueError("found a train without sample and cell; one of to_neo was awaited.")
    off = np.abs(times - step * clock.dt) > 1e-6 * clock.dt
    if off.any() or (step < 0).any() or (step >= clock.n_steps).any():
        raise ValueError(
            f"found spikes of cell {told['cell']} beside the steps of {clock.dt:.3g} s; the "
            "spikes of a simulation were awaited."
        )
    sample, cell = int(told["sample"]), int(told["cell"])
    return np.stack([np.full_like(step, sample), np.full_like(step, cell), step])
