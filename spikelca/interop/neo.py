"""Spikes and traces of a simulation as a Neo block, the format of electrophysiology tools.

=================  ===================================  ==========================================
in spikelca        in Neo                               annotations
=================  ===================================  ==========================================
run                ``Block``                            dt, n_steps, tau (s), quantum, window
sample             ``Segment``                          sample
cell               ``SpikeTrain``, in seconds           sample, neuron, sign (-1: OFF cell of a
                                                        signed code)
trace              ``AnalogSignal``, dimensionless,     neuron and sign of each channel, or its
                   with its sampling period             input
=================  ===================================  ==========================================

A silent cell has an empty train, and one that was not recorded has none. The time of a spike is the
start of its step, as in `Response`. Neo can write blocks in several formats (NIX, NWB, ...).
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
    """Convert spikes and traces of a simulation to a Neo block.

    Parameters
    ----------
    response : Response
        Response of a simulation that recorded spikes, traces or both.
    neurons, samples : list of int, optional
        Neurons and samples of the traces, for a response that does not contain them.

    Returns
    -------
    neo.Block
        Block with one segment per sample.

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
            "`response` must contain spikes or traces, got neither spikes nor traces. Simulate "
            "with record=('spikes', 'u')."
        )
    n_samples, n_neurons = response.code.shape
    recorded = _recorded(samples, response.samples, n_samples, "samples").tolist()
    cells = _cell_indices(_recorded(neurons, response.neurons, n_neurons, "neurons"), response)
    _check_traces(response, len(recorded), len(cells))
    block = neo.Block(name="spikelca", **_annotations(response))
    trains = dict(_spike_trains(neo, response))
    for sample in range(len(response.code)):
        segment = neo.Segment(name=f"sample {sample}", sample=sample)
        segment.spiketrains.extend(trains.get(sample, []))
        if sample in recorded:
            signals = _analog_signals(neo, response, recorded.index(sample), cells)
            segment.analogsignals.extend(list(signals))
        block.segments.append(segment)
    return block


def from_neo(block: Any) -> tuple[Spikes, Clock]:
    """Convert a block from `to_neo` to spikes and their clock.

    Parameters
    ----------
    block : neo.Block
        Block from `to_neo`, also if it was written to a file and read again.

    Returns
    -------
    Spikes, Clock
        Spikes and clock of the original `Response`.

    Raises
    ------
    ValueError
        If the block is not from `to_neo`, or its spike times are not multiples of the step.

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
    annotations = getattr(block, "annotations", {})
    if not {"dt", "n_steps"} <= annotations.keys():
        raise ValueError("`block` must be from to_neo, with the annotations dt and n_steps.")
    clock = Clock(to_positive_seconds(annotations["dt"], "dt"), int(annotations["n_steps"]))
    trains = [train for segment in block.segments for train in segment.spiketrains]
    events = np.concatenate(
        [np.zeros((3, 0), np.int64), *(_read_train(t, clock) for t in trains)], axis=1
    )
    sample, neuron, step = events[:, np.lexsort((events[1], events[2], events[0]))]
    return Spikes(sample, neuron, step, clock.dt), clock


def _annotations(response: Response) -> dict[str, Any]:
    """Collect the parameters of the run (times in seconds) that are not None."""
    assert response.clock is not None
    parameters = {
        "dt": response.clock.dt,
        "n_steps": response.clock.n_steps,
        "first_step": response.clock.first_step,
        "tau": response.tau,
        "quantum": response.quantum,
        "window": response.window,
    }
    return {name: value for name, value in parameters.items() if value is not None}


def _cell_indices(neurons: NDArray[np.int64], response: Response) -> NDArray[np.int64]:
    """List the cells of neurons; for signed codes, OFF cells follow all ON cells."""
    n = response.code.shape[1]
    has_on_off = response.counts is not None and response.counts.shape[1] == 2 * n
    return np.concatenate([neurons, neurons + n]) if has_on_off else neurons


def _check_traces(response: Response, n_samples: int, n_cells: int) -> None:
    for name, trace in response.traces.items():
        expected = (n_samples, trace.shape[2] if name.startswith("r:") else n_cells)
        if trace.shape[1:] != expected:
            raise ValueError(
                f"The trace of {name!r} must have shape (samples, neurons) {expected}, got "
                f"{trace.shape[1:]}. Pass the samples= and neurons= that were recorded."
            )


def _recorded(
    given: ArrayLike | None, recorded: NDArray[np.int64] | None, n: int, name: str
) -> NDArray[np.int64]:
    """Return the indices of neurons or samples; those given must be those of the response."""
    indices = check_indices(recorded if given is None else given, n, name)
    if recorded is not None and not np.array_equal(indices, recorded):
        raise ValueError(
            f"{name} must be those of the response, {recorded.tolist()}, got {indices.tolist()}. "
            f"Leave out {name}=."
        )
    return indices


def _cell_annotations(cell: NDArray[np.int64], n_neurons: int) -> dict[str, NDArray[np.int64]]:
    """Compute neuron and sign of cells."""
    return {"neuron": cell % n_neurons, "sign": np.where(cell < n_neurons, 1, -1)}


def _spike_trains(neo: Any, response: Response) -> Iterator[tuple[int, list[Any]]]:
    """Make the spike trains of each recorded sample, one per recorded cell."""
    if response.spikes is None:
        return
    assert response.clock is not None
    assert response.counts is not None
    spikes, clock, n_cells = response.spikes, response.clock, response.counts.shape[1]
    annotations = _cell_annotations(np.arange(n_cells), response.code.shape[1])
    index = spikes.sample * n_cells + spikes.neuron
    order = np.argsort(index, kind="stable")
    offsets = np.searchsorted(index[order], np.arange(response.counts.size + 1))
    times = spikes.step[order] * clock.dt
    recorded = check_indices(response.neurons, response.code.shape[1], "neurons")
    cells = np.unique(_cell_indices(recorded, response)).tolist()
    for sample in np.unique(
        check_indices(response.samples, len(response.code), "samples")
    ).tolist():
        start = sample * n_cells
        yield (
            sample,
            [
                neo.SpikeTrain(
                    times[offsets[start + cell] : offsets[start + cell + 1]],
                    units="s",
                    t_start=clock.first_step * clock.dt,
                    t_stop=clock.end_step * clock.dt,
                    sampling_rate=1 / clock.dt * _quantities().Hz,
                    name=f"cell {cell}",
                    sample=sample,
                    cell=cell,
                    **{name: int(values[cell]) for name, values in annotations.items()},
                )
                for cell in cells
            ],
        )


def _analog_signals(
    neo: Any, response: Response, row: int, cells: NDArray[np.int64]
) -> Iterator[Any]:
    """Make the signals of one sample, with cells or inputs as channels."""
    times = response.times
    assert response.clock is not None
    period = response.every * response.clock.dt
    for name, trace in response.traces.items():
        annotations = (
            {"input": np.arange(trace.shape[2])}
            if name.startswith("r:")
            else _cell_annotations(cells, response.code.shape[1])
        )
        yield neo.AnalogSignal(
            trace[:, row],
            units="dimensionless",
            t_start=times[0] * _quantities().s,
            sampling_period=period * _quantities().s,
            name=name,
            array_annotations=annotations,
        )


def _quantities() -> Any:
    return require("quantities", "neo")


def _read_train(train: Any, clock: Clock) -> NDArray[np.int64]:
    """Read sample, cell and step of the spikes of a train, as (3, n_spikes)."""
    times = np.asarray(train.rescale("s").magnitude, dtype=np.float64)
    step = np.rint(times / clock.dt).astype(np.int64)
    annotations = train.annotations
    if not {"sample", "cell"} <= annotations.keys():
        raise ValueError("Spike trains must be from to_neo, with the annotations sample and cell.")
    is_off_grid = np.abs(times - step * clock.dt) > 1e-6 * clock.dt
    is_outside = (step < clock.first_step) | (step >= clock.end_step)
    if is_off_grid.any() or is_outside.any():
        raise ValueError(
            f"Spike times of cell {annotations['cell']} must be multiples of the step of "
            f"{clock.dt:.3g} s within the run."
        )
    sample, cell = int(annotations["sample"]), int(annotations["cell"])
    return np.stack([np.full_like(step, sample), np.full_like(step, cell), step])
