"""Spiking circuits as graphs of the Neuromorphic Intermediate Representation (NIR).

NIR describes networks by the equations of their nodes (Pedersen et al. 2024, Nature Communications
15:8122). The graph of a spiking circuit is::

    input   -> Affine(Phi_1^T, -lam) -+
    input_1 -> Linear(Phi_2^T) -------+-> LI dendrite -> IF generator -> output
    drivers --------------------------+        ^               |
                                               +--- lateral <--+

==================  ==================================================  ========================
node                equation in NIR                                     parameters
==================  ==================================================  ========================
``dendrite``  LI    tau du'/dt = -u' + I;  u' = u - lam                 tau, R = 1, v_leak = 0
``generator`` IF    dv/dt = R u';  a spike when v > v_threshold         R = 1, theta tau
``lateral``         I = W z  (an Affine without bias)                   W = -(theta tau / dt) L
``input``           stimulus of the first modality                      (n_inputs,)
``drivers``         driver current, only if there are drivers           (n_neurons,)
==================  ==================================================  ========================

Stimuli and currents have the unit of u. A modality with a weight ``w_i`` other than 1 has an
additional ``Scale``. The state of the generator is v tau, so that R = 1, because several readers
ignore other values of R. ``lateral`` is an ``Affine``, because some readers ignore a ``Linear`` in
a loop. A spike is the value 1 during one step ``dt``, as in all time-stepped simulators. Therefore
the lateral weights contain the factor ``tau / dt``, and one spike lowers u by ``theta L``.

NIR leaves three properties unspecified. They are stored as node metadata; a reader that ignores
them computes a different code:

* ``reset``: the reset of the generator subtracts theta, while the text of NIR sets v to
  ``v_reset``. Both agree in continuous time; in time steps, the latter loses the overshoot.
* ``v_floor``: a generator at or below it integrates positive u' only.
* ``v_initial``: the dendrite starts at ``-lam``, which is ``u = 0``.
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
from spikelca.engines.problem import Coupling
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

FORMAT, SCHEMA = "spikelca-circuit", 2


def describe_circuit(circuit: Circuit, dt: float) -> dict[str, Any]:
    """Check that NIR can represent the circuit, and describe it for the metadata."""
    neuron, transfer = circuit.neuron, circuit.transfer
    if type(neuron) is not SpikingNeuron:
        raise ValueError(
            "`circuit` must have spiking neurons, because NIR has no node with graded, "
            f"thresholded output, got {type(neuron).__name__}. Export "
            "circuit.replace(neuron=SpikingNeuron(tau=...)), which converges to the same code."
        )
    if type(transfer) is not SoftThreshold:
        raise ValueError(
            "`circuit` must have a SoftThreshold, because NIR has no node with another transfer "
            f"function, got {type(transfer).__name__}."
        )
    if transfer.two_sided:
        raise ValueError(
            "`circuit` must have a one-sided threshold, because spikes have no sign, got signed "
            "codes. Export the circuit with ON and OFF cells: "
            "Dictionary(name, np.vstack([atoms, -atoms])) with a one-sided SoftThreshold."
        )
    if circuit.wiring != "lateral":
        raise ValueError(
            "`circuit` must have the lateral wiring, because NIR has no order of events within a "
            f"step, got the wiring {circuit.wiring!r}. Export circuit.replace(wiring='lateral'), "
            "which converges to the same code."
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


def serialise_circuit(circuit: Circuit, text: str | None = None) -> dict[str, Any]:
    """Convert the circuit to text, digest and arrays without atoms, which are in the graph.

    ``text`` replaces the text, for a circuit that was read from the text of an earlier schema.
    """
    arrays = ArrayStore()
    data = circuit_to_json(circuit, "circuit", arrays)
    text = json.dumps(data, allow_nan=False) if text is None else text
    digest = hashlib.sha256(text.encode())
    for array in arrays.arrays.values():
        digest.update(np.ascontiguousarray(array).tobytes())
    atoms = {_atoms_path(i) for i in range(len(circuit.dictionaries))}
    other_arrays = {path: array for path, array in arrays.arrays.items() if path not in atoms}
    return {"circuit": text, "sha256": digest.hexdigest(), **other_arrays}


def _atoms_path(i: int) -> str:
    return f"circuit.dictionaries.{i}.atoms"


def _node_name(name: str, i: int) -> str:
    return f"{name}_{i}" if i else name


def double_gram(circuit: Circuit) -> NDArray[np.float64]:
    """Compute ``L + 1`` in float64, with the gain of linked drivers on its diagonal."""
    dictionaries = [d._with_atoms(d.atoms.astype(np.float64)) for d in circuit.dictionaries]
    n = circuit.n_neurons
    injection = sum_injections(static_drivers(circuit.drivers), np.zeros(1), 1, n)
    if injection.allowed is not None:
        raise ValueError(
            "`circuit` must not have a driver that clamps, because NIR has no node that sets "
            "neurons to zero. Use circuit.without_drivers(), or another mode of the driver."
        )
    gram = gram_matrix([d.atoms for d in dictionaries], [d.weight for d in dictionaries])
    return Coupling(gram).with_gain(injection.gain).gram


def make_input_nodes(nir: Any, circuit: Circuit) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Make the nodes and edges of stimuli and drivers; the first modality has the threshold."""
    nodes, edges, dtype = {}, [], circuit.dtype
    for i, d in enumerate(circuit.dictionaries):
        path = [_node_name("input", i)]
        nodes[path[0]] = nir.Input({"input": np.array([d.n_inputs])})
        if d.weight != 1:
            path.append(_node_name("weight", i))
            nodes[path[-1]] = nir.Scale(np.full(d.n_inputs, d.weight, dtype))
        path.append(_node_name("synapses", i))
        bias = np.full(d.n_neurons, -circuit.transfer.threshold, dtype)
        atoms = d.atoms.copy()  # callers may modify the graph
        nodes[path[-1]] = nir.Linear(atoms) if i else nir.Affine(atoms, bias)
        edges += list(pairwise([*path, "dendrite"]))
    if circuit.drivers:
        nodes["drivers"] = nir.Input({"input": np.array([circuit.n_neurons])})
        edges.append(("drivers", "dendrite"))
    return nodes, edges


def make_neuron_nodes(nir: Any, circuit: Circuit, gram: FloatArray, dt: float) -> dict[str, Any]:
    """Make the nodes of dendrites, generators, lateral inhibition and output."""
    neuron, n, dtype = circuit.neuron, circuit.n_neurons, circuit.dtype
    assert isinstance(neuron, SpikingNeuron)
    lateral = (gram - np.eye(n)) * (-neuron.quantum * (neuron.tau / dt))

    def full(value: float) -> FloatArray:
        return np.full(n, value, dtype)

    return {
        "dendrite": nir.LI(
            tau=full(neuron.tau),
            r=full(1),
            v_leak=full(0),
            metadata={"v_initial": -circuit.transfer.threshold},
        ),
        "generator": nir.IF(
            r=full(1),
            v_threshold=full(neuron.quantum * neuron.tau),
            v_reset=full(0),
            metadata={"reset": "subtract", "v_floor": neuron.v_floor * neuron.tau},
        ),
        "lateral": nir.Affine(lateral.astype(dtype), full(0)),
        "output": nir.Output({"output": np.array([n])}),
    }


def to_native(value: Any) -> Any:
    """Convert values that were read from HDF5 to plain Python strings and numbers."""
    if isinstance(value, Mapping):
        return {str(to_native(key)): to_native(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value


def circuit_from_graph(graph: Any, metadata: Mapping[str, Any]) -> Circuit:
    """Restore the circuit from the metadata, with the atoms of the graph."""
    arrays = ArrayStore({k: np.array(v) for k, v in metadata.items() if k.startswith("circuit.")})
    for i in range(len(graph.nodes)):
        node = graph.nodes.get(_node_name("synapses", i))
        if node is not None:
            arrays.arrays[_atoms_path(i)] = np.array(getattr(node, "weight", None))
    try:
        data = json.loads(str(metadata.get("circuit")))
    except ValueError as error:
        raise ValueError(f"the circuit in the metadata must be JSON ({error}).") from error
    circuit = circuit_from_json(data, "circuit", arrays)
    arrays.check_all_used()
    return circuit


def check_graph(graph: Any, expected: Any) -> None:
    """Raise ValueError if a graph differs from the graph of its circuit."""
    # Products of atoms are rounded differently by different linear algebra libraries.
    tolerances = {"lateral": 1e-5}
    if set(graph.nodes) != set(expected.nodes):
        raise ValueError(
            f"the nodes must be {sorted(expected.nodes)} for the circuit in the metadata, got "
            f"{sorted(graph.nodes)[:12]}."
        )
    mismatched = [
        name
        for name, node in expected.nodes.items()
        if type(graph.nodes[name]) is not type(node)
        or not _equal(vars(graph.nodes[name]), vars(node), tolerances.get(name, 0.0))
    ]
    if set(map(tuple, graph.edges)) != set(expected.edges):
        mismatched.append("edges")
    if not _equal(graph.metadata, expected.metadata):
        mismatched.append("metadata")
    if mismatched:
        raise ValueError(
            f"{', '.join(mismatched)} differ from the circuit in the metadata. The graph was "
            "changed after its export: export the circuit again."
        )


def _equal(value: Any, expected: Any, tolerance: float = 0.0) -> bool:
    value, expected = to_native(value), to_native(expected)
    if isinstance(expected, dict):
        return (
            isinstance(value, dict)
            and value.keys() == expected.keys()
            and all(_equal(value[key], expected[key], tolerance) for key in expected)
        )
    a, b = np.asarray(value), np.asarray(expected)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if tolerance and b.dtype.kind == "f":
        return np.allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max(initial=0))
    return np.array_equal(a, b)


def to_nir(circuit: Circuit, dt: Any) -> Any:
    """Convert a spiking circuit to a NIR graph.

    The inputs of the graph are stimuli in the unit of u, constant or time-varying. Its outputs are
    spikes; the code is ``quantum * tau`` times their rate. The driver current is the input of the
    node ``drivers``; it is recorded by a simulation with ``record=("current",)``.

    Parameters
    ----------
    circuit : Circuit
        Circuit of spiking neurons with lateral wiring and a one-sided soft threshold.
    dt : float or Brian2 quantity
        Integration step, in seconds, of the simulator that runs the graph.

    Returns
    -------
    nir.NIRGraph
        Graph with explicit shapes and the metadata that `from_nir` requires.

    Raises
    ------
    ValueError
        If NIR cannot represent the circuit, or the step exceeds the stability limit.
    TypeError
        If a driver is of a custom class, or contains a function.
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
            f"`dt` must be below the stability limit of {limit:.3g} s for this dictionary, got "
            f"{step:.3g} s."
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
    """Write a spiking circuit as a NIR file, atomically.

    Parameters
    ----------
    circuit : Circuit
        Circuit as for `to_nir`.
    path : path
        File to write, with any suffix; its folder must exist.
    dt : float or Brian2 quantity
        Integration step in seconds, see `to_nir`.

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
    graph, buffer = to_nir(circuit, dt), io.BytesIO()
    require("nir", "nir").write(buffer, graph)
    with write_atomic(path) as file:
        file.write(buffer.getbuffer())


def from_nir(graph: Any) -> Circuit:
    """Restore the circuit of a graph from `to_nir`, bit-identically.

    Parameters
    ----------
    graph : nir.NIRGraph
        Graph from `to_nir`.

    Returns
    -------
    Circuit

    Raises
    ------
    ValueError
        If the graph is not from `to_nir`, or its nodes differ from its metadata.
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
        raise ValueError(f"`graph` must be a nir.NIRGraph, got {type(graph).__name__}.")
    metadata = to_native(graph.metadata)
    if metadata.get("format") != FORMAT:
        raise ValueError(
            "The graph must be from to_nir, got metadata with no circuit of spikelca. Graphs of "
            "other tools are not supported, because NIR does not mark dictionaries, thresholds "
            "and inhibition."
        )
    schema = metadata.get("schema")
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        raise ValueError(
            f"The schema version must be at most {SCHEMA} for spikelca {__version__}, got "
            f"{str(schema)[:20]}. Update spikelca, or export the circuit again."
        )
    if not isinstance(metadata.get("dt"), float):
        raise ValueError(
            f"The dt in the metadata must be a float, got {str(metadata.get('dt'))[:20]!r}."
        )
    try:
        circuit = circuit_from_graph(graph, metadata)
    except (TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"invalid circuit in the metadata ({error}).") from error
    expected = to_nir(circuit, metadata["dt"])
    if schema < SCHEMA:
        expected.metadata |= {"schema": schema, **serialise_circuit(circuit, metadata["circuit"])}
    check_graph(graph, expected)
    return circuit


def read_nir(path: str | os.PathLike[str]) -> Circuit:
    """Read the circuit of a file from `write_nir`, bit-identically.

    NIR files are HDF5, whose reader is not safe for untrusted files; use `spikelca.load` for
    those.

    Parameters
    ----------
    path : path
        File to read.

    Returns
    -------
    Circuit

    Raises
    ------
    ModelFileError
        If it is not a NIR file, is not from `write_nir`, or is damaged.
    OSError
        If it cannot be opened or read.
    ImportError
        If nir is not installed.

    Examples
    --------
    See `write_nir` for a round trip. Other files raise an error.

    >>> from tempfile import NamedTemporaryFile
    >>> with NamedTemporaryFile() as file:
    ...     read_nir(file.name)
    Traceback (most recent call last):
    spikelca.modelfile.archive.ModelFileError: ...
    """
    nir = require("nir", "nir")
    with model_file_errors(path):
        check_hdf5(path)
        try:
            graph = nir.read(path)
        except Exception as error:  # nir raises errors of many types for invalid files
            raise ModelFileError(
                f"{os.fspath(path)}: nir cannot read it ({type(error).__name__}: {error}). Get a "
                "complete NIR file."
            ) from error
        return from_nir(graph)
