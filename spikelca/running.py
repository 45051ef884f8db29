"""What a circuit does in time: simulate, learn while it runs, live in Brian2.

The face only: times, records and memory are looked after by `simulating`, plastic synapses by
`streaming`, and the equations by an engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from spikelca.anatomy import HasParts
from spikelca.engines import WINDOW, Engine, Problem, Response, Stream, get_engine
from spikelca.engines.brian2 import Brian2Engine, BrianCircuit
from spikelca.simulating import prepared, simulate, untimed
from spikelca.streaming import streamed
from spikelca.validation import FloatArray, check_stimuli


class RunsInTime(HasParts):
    """What can be simulated; `Circuit` says what it is."""

    def simulate(
        self,
        stimuli: Mapping[str, ArrayLike],
        duration: Any,
        dt: Any | None = None,
        *,
        engine: str | Engine = "numba",
        record: Sequence[str] = (),
        every: int = 1,
        neurons: ArrayLike | None = None,
        samples: ArrayLike | None = None,
        window: float = WINDOW,
        labels: ArrayLike | None = None,
        start: Mapping[str, FloatArray] | None = None,
    ) -> Response:
        """The time-stepped equations, with traces and spikes.

        Spiking neurons and Brian2 compute in float64, whatever the precision of the circuit. With
        signed codes a spiking neuron is a pair of cells; see `spikelca.pairs` for their numbers.

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs)
            Constant over the run.
        duration, dt : float or Brian2 quantity
            Seconds. Without dt a step is chosen from the spectrum of the Gram matrix (and, for
            spiking neurons, from the strongest drive, currents of drivers included).
        engine : {"numba", "brian2", "reference"} or Engine, default="numba"
        record : sequence of {"u", "a", "v", "s", "r", "current", "spikes"}, default=()
            What to keep, as far as the circuit has it; ``traces[name]`` is (n_times, n_samples,
            n_neurons), that of "r" is ``traces["r:<modality>"]``.
        every : int, default=1
            Keep every how many steps.
        neurons, samples : list of int, optional
            Which ones to keep; all unless told.
        window : float in (0, 1], default=0.25
            The last part of the run in which spikes are read out; see `spikelca.readout`.
        labels : (n_samples,) int, optional
            Class numbers for drivers that need them.
        start : mapping, optional
            ``state`` of an earlier response, to go on from there.

        Returns
        -------
        Response

        Raises
        ------
        ValueError
            If an input is not what was awaited, the step is beyond the stability limit, or a
            spiking neuron would saturate.
        MemoryError
            If what is to be recorded would not fit; nothing has run then.
        """
        return simulate(
            self._untimed(stimuli, labels),
            self.drivers,
            get_engine(engine),
            duration,
            dt,
            start=start,
            record=record,
            every=every,
            neurons=neurons,
            samples=samples,
            window=window,
        )

    def learn_in_simulation(
        self,
        stimuli: Mapping[str, ArrayLike],
        presentation: Any = 0.15,
        dt: Any | None = None,
        *,
        rate: float = 1.0,
        memory: float = 0.995,
        labels: ArrayLike | None = None,
        engine: str | Engine = "numba",
        **options: Any,
    ) -> tuple[Self, Stream]:
        """Learn while time runs: samples stream by without a reset, and synapses follow.

        Each synapse sees the error of its input and the activity of its neuron, and nothing else
        (Eq. 4). At the end of each presentation the stacked atoms are brought back to the unit
        sphere; then the image is swapped. Needs the wiring "residual".

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs)
            Shown one after the other.
        presentation : float or Brian2 quantity, default=0.15
            Seconds of one presentation.
        dt : float or Brian2 quantity, optional
            Seconds of one step.
        rate : float, default=1.0
            eta, for a whole presentation, of dictionaries with a plasticity. As in `Hebbian` the
            step of neuron j is ``rate / H_j``, H_j a decayed sum of its squared activity, so that
            one is a full Newton step along each single atom.
        memory : float in [0, 1), default=0.995
            What is left of H after one presentation.
        labels : (n_samples,) int, optional
        engine : {"numba", "brian2"} or Engine, default="numba"
        **options
            ``window``, ``record=("spikes",)`` and ``start`` as in `simulate`.

        Returns
        -------
        circuit : Circuit
            With the learnt atoms, and H, from which a further call goes on.
        stream : Stream
            Codes, errors and spikes of the presentations, and the last state.
        """
        assert self.plasticity is not None
        learnt, stream = streamed(
            self._untimed(stimuli, labels),
            self.dictionaries,
            get_engine(engine),
            presentation,
            dt,
            rate,
            memory,
            self.plasticity,
            **options,
        )
        return self.with_parts(**learnt), stream

    def to_brian2(
        self,
        stimuli: Mapping[str, ArrayLike] | None = None,
        *,
        n_samples: int = 1,
        duration: Any = 0.2,
        dt: Any | None = None,
        target: str = "numpy",
        labels: ArrayLike | None = None,
        **options: Any,
    ) -> BrianCircuit:
        """The circuit as Brian2's own live objects, to be looked at, added to and run.

        Parameters
        ----------
        stimuli : mapping of modality to (n_samples, n_inputs), optional
            Presented from the start; nothing (zeros) unless told.
        n_samples : int, default=1
            How many samples run side by side, if no stimuli say so.
        duration : float or Brian2 quantity, default=0.2
            Seconds for which currents that change over time are laid out.
        dt, labels
            As in `simulate`.
        target : {"numpy", "cython"}, default="numpy"
            How Brian2 computes.
        **options
            ``record``, ``every``, ``neurons``, ``samples`` and ``start`` as in `simulate`; recorded
            traces become state monitors.

        Returns
        -------
        BrianCircuit
            With ``network``, ``population``, ``inputs``, ``synapses``, ``lateral``, ``monitors``,
            ``equations``, ``add(obj)`` and ``run(duration)``.
        """
        if stimuli is None:
            stimuli = {name: np.zeros((n_samples, width)) for name, width in self.widths.items()}
        problem = self._untimed(stimuli, labels)
        run = prepared(problem, self.drivers, True, duration, dt, **options)
        return Brian2Engine(target).build(run)

    def _untimed(self, stimuli: Mapping[str, ArrayLike], labels: ArrayLike | None) -> Problem:
        """The problem without those drivers that are told by time."""
        checked = check_stimuli(stimuli, self.widths, self.dtype)
        drivers = untimed(self.drivers)
        # A circuit of its own would compute the Gram matrix anew.
        same = len(drivers) == len(self.drivers)
        steady: Any = self if same else self.with_parts(drivers=drivers)
        problem: Problem = steady.problem(checked, labels)
        return problem
