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

The nodes of a NIR graph from the parts of a circuit, and the circuit from nodes and metadata.

What the nodes mean, and what stands in the metadata, is told in `spikelca.interop.nir`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca._version import __version__
from spikelca.circuit import Circuit
from spikelca.circuit.compile import sum_injections
from spikelca.circuit.simulation import static_drivers
from spikelca.interop.hdf5 import check_hdf5
from spikelca.model.atoms import gram_matrix, step_limit
from spikelca.model.neurons import SpikingNeuron
from spikelca.model.transfer import SoftThreshold
from spikelca.modelfile import (
    ArrayStore,
    ModelFileError,
    circuit_from_json,
    circuit_to_json,
    model_file_errors,
)
from spikelca.utils.atomic_write import write_atomic
from spikelca.utils.optional import require
from spikelca.utils.validation import FloatArray, to_positive_seconds

FORMAT, SCHEMA = "spikelca-circuit", 1


def describe_circuit(circuit: Circuit, dt: float) -> dict[str, Any]:
    """What stands in the metadata in plain words, once it is sure that NIR can hold the circuit."""
    neuron, transfer = circuit.neuron, circuit.transfer
    if not isinstance(neuron, SpikingNeuron):
        raise ValueError(
            "The circuit has rate neurons, and NIR has no node with a graded, thresholded output. "
            "Export circuit._replace(neuron=SpikingNeuron(tau=...)): its spikes code the same."
        )
    if not isinstance(transfer, SoftThreshold):
        raise ValueError(
            "The circuit has a hard threshold, whose current jumps at the threshold; NIR has no "
            "node that does. Export a circuit with SoftThreshold."
        )
    if transfer.two_sided:
        raise ValueError(
            "The circuit has signed codes, and a spike has no sign. Export the circuit of their "
            "pairs: Dictionary(name, np.vstack([atoms, -atoms])) with a one-sided SoftThreshold."
        )
    if circuit.wiring != "lateral":
        raise ValueError(
            f"The circuit has the wiring {circuit.wiring!r}, whose spikes reach every input and "
            "come back at once; NIR's graph has no order of events within a step. Export "
            "circuit._replace(wiring='lateral'): it codes the same."
        )
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "dt": dt,
        "tau": neuron.tau,
        "quantum": neuron.quantum,
        "threshold": transfer.threshold,
        "floor": neuron.v_floor,
        "reset": "subtract",
        "spike": "1 for one step of dt",
        "modalities": json.dumps({d.name: d.weight for d in circuit.dictionaries}),
    }


def serialise_circuit(circuit: Circuit) -> dict[str, Any]:
    """The whole circuit and its digest, but for the atoms, which stand in the graph."""
    arrays = ArrayStore()
    plain = json.dumps(circuit_to_json(circuit, "circuit", arrays), allow_nan=False)
    digest = hashlib.sha256(plain.encode())
    for array in arrays.arrays.values():
        digest.update(np.ascontiguousarray(array).tobytes())
    atoms = {_place(i) for i in range(len(circuit.dictionaries))}
    rest = {name: array for name, array in arrays.arrays.items() if name not in atoms}
    return {"circuit": plain, "sha256": digest.hexdigest(), **rest}


def _place(i: int) -> str:
    return f"circuit.dictionaries.{i}.atoms"


def _node_name(name: str, i: int) -> str:
    return f"{name}_{i}" if i else name


def double_gram(circuit: Circuit) -> NDArray[np.float64]:
    """``L + 1`` in float64, with the gain of linked drivers on its diagonal."""
    dictionaries = [d.with_atoms(d.atoms.astype(np.float64)) for d in circuit.dictionaries]
    n = circuit.n_neurons
    injection = sum_injections(static_drivers(circuit.drivers), np.zeros(1), 1, n)
    if injection.allowed is not None:
        raise ValueError(
            "The circuit has a driver that clamps, which holds cells at zero whatever they "
            "receive; NIR has no node that does. Take it off with circuit.without_drivers(), or "
            "take another reading of it."
        )
    return np.asarray(gram_matrix(dictionaries) + injection.gain * np.eye(n))


def make_input_nodes(nir: Any, circuit: Circuit) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Stimuli and drivers, up to the dendrite; the first modality also brings the threshold."""
    nodes, edges, dtype = {}, [], circuit.dtype
    for i, d in enumerate(circuit.dictionaries):
        path = [_node_name("input", i)]
        nodes[path[0]] = nir.Input({"input": np.array([d.n_inputs])})
        if d.weight != 1:
            path.append(_node_name("weight", i))
            nodes[path[-1]] = nir.Scale(np.full(d.n_inputs, d.weight, dtype))
        path.append(_node_name("synapses", i))
        bias = np.full(d.n_neurons, -circuit.transfer.threshold, dtype)
        atoms = d.atoms.copy()  # a graph belongs to whoever asked for it
        nodes[path[-1]] = nir.Linear(atoms) if i else nir.Affine(atoms, bias)
        edges += list(pairwise([*path, "dendrite"]))
    if circuit.drivers:
        nodes["drivers"] = nir.Input({"input": np.array([circuit.n_neurons])})
        edges.append(("drivers", "dendrite"))
    return nodes, edges


def make_neuron_nodes(nir: Any, circuit: Circuit, gram: FloatArray, dt: float) -> dict[str, Any]:
    """The neurons, two nodes for each, and what they do to each other."""
    neuron, n, dtype = circuit.neuron, circuit.n_neurons, circuit.dtype
    assert isinstance(neuron, SpikingNeuron)
    lateral = (gram - np.eye(n)) * (-neuron.quantum * (neuron.tau / dt))

    def every(value: float) -> FloatArray:
        return np.full(n, value, dtype)

    return {
        "dendrite": nir.LI(
            tau=every(neuron.tau),
            r=every(1),
            v_leak=every(0),
            metadata={"v_initial": -circuit.transfer.threshold},
        ),
        "generator": nir.IF(
            r=every(1),
            v_threshold=every(neuron.quantum * neuron.tau),
            v_reset=every(0),
            metadata={"reset": "subtract", "v_floor": neuron.v_floor * neuron.tau},
        ),
        "lateral": nir.Affine(lateral.astype(dtype), every(0)),
        "output": nir.Output({"output": np.array([n])}),
    }


def to_native(value: Any) -> Any:
    """What came through HDF5 as plain Python: bytes are words, numbers of NumPy are numbers."""
    if isinstance(value, Mapping):
        return {str(to_native(key)): to_native(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value


def circuit_from_graph(graph: Any, told: Mapping[str, Any]) -> Circuit:
    arrays = ArrayStore({k: np.array(v) for k, v in told.items() if k.startswith("circuit.")})
    for i in range(len(graph.nodes)):
        node = graph.nodes.get(_node_name("synapses", i))
        if node is not None:
            arrays.arrays[_place(i)] = np.array(getattr(node, "weight", None))
    try:
        plain = json.loads(str(told.get("circuit")))
    except ValueError as error:
        raise ValueError(f"found no JSON as the circuit in the metadata: {error}") from error
    circuit = circuit_from_json(plain, "circuit", arrays)
    arrays.check_all_used()
    return circuit


def check_graph(found: Any, awaited: Any) -> None:
    """Raise ValueError if a graph is not the one of its circuit: somebody has changed it."""
    # Another library of linear algebra rounds the products of the atoms in another way.
    slack = {"lateral": 1e-5}
    if set(found.nodes) != set(awaited.nodes):
        raise ValueError(
            f"found the nodes {sorted(found.nodes)[:12]}; {sorted(awaited.nodes)} were awaited for "
            "the circuit that the metadata tell of."
        )
    wrong = [
        name
        for name, node in awaited.nodes.items()
        if type(found.nodes[name]) is not type(node)
        or not _equal(vars(found.nodes[name]), vars(node), slack.get(name, 0.0))
    ]
    if set(map(tuple, found.edges)) != set(awaited.edges):
        wrong.append("edges")
    if not _equal(found.metadata, awaited.metadata):
        wrong.append("metadata")
    if wrong:
        raise ValueError(
            f"found {', '.join(wrong)} other than the circuit in the metadata has. The graph was "
            "changed after its export: export the circuit again."
        )


def _equal(found: Any, awaited: Any, slack: float = 0.0) -> bool:
    found, awaited = to_native(found), to_native(awaited)
    if isinstance(awaited, dict):
        return (
            isinstance(found, dict)
            and found.keys() == awaited.keys()
            and all(_equal(found[key], awaited[key], slack) for key in awaited)
        )
    one, other = np.asarray(found), np.asarray(awaited)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if slack and other.dtype.kind == "f":
        return np.allclose(one, other, rtol=0, atol=slack * np.abs(other).max(initial=0))
    return np.array_equal(one, other)


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
    nir, step = require("nir", "nir"), to_positive_seconds(dt, "dt")
    metadata = {**describe_circuit(circuit, step), **serialise_circuit(circuit)}
    gram = double_gram(circuit)
    limit = step_limit(gram) * circuit.neuron.tau
    if step >= limit:
        raise ValueError(
            f"dt is {step:.3g} s; below {limit:.3g} s forward Euler is certainly stable for this "
            "dictionary. Take a smaller dt."
        )
    nodes, edges = make_input_nodes(nir, circuit)
    nodes |= make_neuron_nodes(nir, circuit, gram, step)
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
    require("nir", "nir").write(whole, graph)
    with write_atomic(path) as file:
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
    nir = require("nir", "nir")
    if not isinstance(graph, nir.NIRGraph):
        raise ValueError(f"found {type(graph).__name__}; a nir.NIRGraph was awaited.")
    told = to_native(graph.metadata)
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
        circuit = circuit_from_graph(graph, told)
    except (TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"found no sound circuit in the metadata: {error}") from error
    check_graph(graph, to_nir(circuit, told["dt"]))
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
    nir = require("nir", "nir")
    with model_file_errors(path):
        check_hdf5(path)
        try:
            graph = nir.read(path)
        except Exception as error:  # whatever nir trips over
            raise ModelFileError(
                f"{os.fspath(path)}: nir cannot read it ({type(error).__name__}: {error}). "
                "Is it a NIR file, and whole?"
            ) from error
        return from_nir(graph)
