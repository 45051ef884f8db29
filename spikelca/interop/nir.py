"""A spiking circuit as a graph of the Neuromorphic Intermediate Representation (NIR), and back.

NIR describes networks by the equations of their nodes (Pedersen et al. 2024, Nature Communications
15:8122). The spiking circuit is, node by node::

    input   -> Affine(Phi_1^T, -lam) -+
    input_1 -> Linear(Phi_2^T) -------+-> LI dendrite -> IF generator -> output
    drivers --------------------------+        ^               |
                                               +--- lateral <--+

==================  ==================================================  ========================
node                what NIR says of it                                 with
==================  ==================================================  ========================
``dendrite``  LI    tau du'/dt = -u' + I;  it holds u' = u - lam        tau, R = 1, v_leak = 0
``generator`` IF    dv/dt = R u';  a spike when v > v_threshold         R = 1, theta tau
``lateral``         I = W z  (an Affine without bias)                   W = -(theta tau / dt) L
``input``           stimulus of the first modality, as u                (n_inputs,)
``drivers``         driver current, as u; only if there are drivers     (n_neurons,)
==================  ==================================================  ========================

A modality of weight ``w_i`` other than 1 passes a ``Scale`` first. The generator holds v tau, so
that R is 1: readers were found to drop any other R in silence, and a ``Linear`` in a loop too.
Spikes are ones that last for a step of ``dt``, as in all simulators that step: hence the factor
``tau / dt``, with which one spike lowers u by ``theta L``.

Three things NIR has no words for. They stand in the metadata, and who ignores them computes another
code:

* ``reset``: the generator's reset *subtracts* theta, NIR's text sets v to ``v_reset``. In
  continuous time that is the same; in steps the overshoot would be lost.
* ``v_floor``: a generator at or below it is charged by positive u' only.
* ``v_initial``: the dendrite starts at ``-lam``, which is ``u = 0``.
"""

from __future__ import annotations

import io
import os
from typing import Any

from spikelca._version import __version__
from spikelca.atomic import replacing
from spikelca.circuit import Circuit
from spikelca.interop.extras import needed
from spikelca.interop.hdf5 import check_hdf5
from spikelca.interop.nirgraph import (
    FORMAT,
    SCHEMA,
    cell_nodes,
    circuit_of,
    compare,
    gram_in_double,
    input_nodes,
    native,
    told_in_words,
    whole_circuit,
)
from spikelca.modelfile import ModelFileError, naming
from spikelca.spectrum import step_limit
from spikelca.validation import positive_seconds


def to_nir(circuit: Circuit, dt: Any) -> Any:
    """A spiking circuit as a NIR graph.

    The graph takes stimuli in the unit of u, constant or changing, and gives spikes; the code is
    ``quantum * tau`` times their rate. What drivers inject is handed to its ``drivers`` node:
    simulate with ``record=("current",)`` to see it.

    Parameters
    ----------
    circuit : Circuit
        Of spiking neurons in the lateral wiring, with a one-sided soft threshold.
    dt : float or Brian2 quantity
        Step in seconds of the simulator that will run the graph.

    Returns
    -------
    nir.NIRGraph
        With explicit shapes. Its metadata hold all that `from_nir` needs.

    Raises
    ------
    ValueError
        If NIR has no nodes for such a circuit, or the step is beyond the stability limit.
    TypeError
        If a driver is of a class of your own, or holds a function.
    ImportError
        If nir is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
    >>> circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> graph = to_nir(circuit, dt=1e-4)
    >>> sorted(graph.nodes)
    ['dendrite', 'generator', 'input', 'lateral', 'output', 'synapses']
    >>> from_nir(graph).dictionary("x") == circuit.dictionary("x")
    True
    """
    nir, step = needed("nir", "A NIR graph"), positive_seconds(dt, "dt")
    metadata = {**told_in_words(circuit, step), **whole_circuit(circuit)}
    gram = gram_in_double(circuit)
    limit = step_limit(gram) * circuit.neuron.tau
    if step >= limit:
        raise ValueError(
            f"dt is {step:.3g} s; below {limit:.3g} s forward Euler is certainly stable for this "
            "dictionary. Take a smaller dt."
        )
    nodes, edges = input_nodes(nir, circuit)
    nodes |= cell_nodes(nir, circuit, gram, step)
    edges += [
        ("dendrite", "generator"),
        ("generator", "lateral"),
        ("lateral", "dendrite"),
        ("generator", "output"),
    ]
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata=metadata)


def write_nir(circuit: Circuit, path: str | os.PathLike[str], dt: Any) -> None:
    """Write a spiking circuit as a NIR file, as a whole or not at all.

    Parameters
    ----------
    circuit : Circuit
    path : path
        Any name; its folder must exist.
    dt : float or Brian2 quantity
        See `to_nir`.

    Raises
    ------
    ValueError, TypeError, ImportError
        As `to_nir`.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
    >>> circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "circuit.nir"
    >>> write_nir(circuit, path, dt=1e-4)
    >>> read_nir(path).neuron
    SpikingNeuron(tau=0.01, quantum=0.02, floor=-0.02)
    """
    graph, whole = to_nir(circuit, dt), io.BytesIO()
    needed("nir", "A NIR file").write(whole, graph)
    with replacing(path) as file:
        file.write(whole.getbuffer())


def from_nir(graph: Any) -> Circuit:
    """The circuit of a graph that `to_nir` made, equal to the last bit.

    Parameters
    ----------
    graph : nir.NIRGraph

    Returns
    -------
    Circuit

    Raises
    ------
    ValueError
        If the graph is of another origin, or its nodes are not those that its metadata tell of.
    ImportError
        If nir is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
    >>> circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> from_nir(to_nir(circuit, dt=1e-4)).dictionary("x") == circuit.dictionary("x")
    True
    """
    nir = needed("nir", "A NIR graph")
    if not isinstance(graph, nir.NIRGraph):
        raise ValueError(f"found {type(graph).__name__}; a nir.NIRGraph was awaited.")
    told = native(graph.metadata)
    if told.get("format") != FORMAT:
        raise ValueError(
            "found no circuit of spikelca in the metadata; a graph that to_nir has made was "
            "awaited. Graphs of other tools cannot be read: NIR does not say which of their "
            "nodes are a dictionary, a threshold, an inhibition."
        )
    if told.get("schema") != SCHEMA:
        raise ValueError(
            f"found schema version {str(told.get('schema'))[:20]}; this is spikelca {__version__},"
            f" which reads {SCHEMA}. Update spikelca, or export the circuit again."
        )
    if not isinstance(told.get("dt"), float):
        raise ValueError(f"found the dt {str(told.get('dt'))[:20]!r}; seconds were awaited.")
    try:
        circuit = circuit_of(graph, told)
    except (TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"found no sound circuit in the metadata: {error}") from error
    compare(graph, to_nir(circuit, told["dt"]))
    return circuit


def read_nir(path: str | os.PathLike[str]) -> Circuit:
    """Read the circuit of a file that `write_nir` wrote, equal to the last bit.

    NIR files are HDF5, whose reader was not made for files of strangers; for those there is
    `spikelca.load`.

    Parameters
    ----------
    path : path

    Returns
    -------
    Circuit

    Raises
    ------
    ModelFileError
        If it is no NIR file, or one of another origin, or damaged.
    OSError
        If it cannot be opened or read.
    ImportError
        If nir is not installed.

    Examples
    --------
    `write_nir` shows the way there and back; a file of anything else is refused.

    >>> from tempfile import NamedTemporaryFile
    >>> with NamedTemporaryFile() as file:
    ...     read_nir(file.name)
    Traceback (most recent call last):
    spikelca.modelfile.container.ModelFileError: ...
    """
    nir = needed("nir", "A NIR file")
    with naming(path):
        check_hdf5(path)
        try:
            graph = nir.read(path)
        except Exception as error:  # whatever nir trips over
            raise ModelFileError(
                f"{os.fspath(path)}: nir cannot read it ({type(error).__name__}: {error}). "
                "Is it a NIR file, and whole?"
            ) from error
        return from_nir(graph)
