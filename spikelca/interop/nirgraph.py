"""The nodes of a NIR graph from the parts of a circuit, and the circuit from nodes and metadata.

What the nodes mean, and what stands in the metadata, is told in `spikelca.interop.nir`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelca.circuit import Circuit
from spikelca.compiling import gram_of, make_injection
from spikelca.modelfile import Arrays, plain_circuit, read_circuit
from spikelca.neurons import SpikingNeuron
from spikelca.simulating import untimed
from spikelca.transfer import SoftThreshold
from spikelca.validation import FloatArray

FORMAT, SCHEMA = "spikelca-circuit", 1


def told_in_words(circuit: Circuit, dt: float) -> dict[str, Any]:
    """What stands in the metadata in plain words, once it is sure that NIR can hold the circuit."""
    neuron, transfer = circuit.neuron, circuit.transfer
    if not isinstance(neuron, SpikingNeuron):
        raise ValueError(
            "The circuit has rate neurons, and NIR has no node with a graded, thresholded output. "
            "Export circuit.with_parts(neuron=SpikingNeuron(tau=...)): its spikes code the same."
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
            "circuit.with_parts(wiring='lateral'): it codes the same."
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


def whole_circuit(circuit: Circuit) -> dict[str, Any]:
    """The whole circuit and its digest, but for the atoms, which stand in the graph."""
    arrays = Arrays()
    plain = json.dumps(plain_circuit(circuit, "circuit", arrays), allow_nan=False)
    digest = hashlib.sha256(plain.encode())
    for array in arrays.held.values():
        digest.update(np.ascontiguousarray(array).tobytes())
    atoms = {_place(i) for i in range(len(circuit.dictionaries))}
    rest = {name: array for name, array in arrays.held.items() if name not in atoms}
    return {"circuit": plain, "sha256": digest.hexdigest(), **rest}


def _place(i: int) -> str:
    return f"circuit.dictionaries.{i}.atoms"


def _numbered(name: str, i: int) -> str:
    return f"{name}_{i}" if i else name


def gram_in_double(circuit: Circuit) -> NDArray[np.float64]:
    """``L + 1`` in float64, with the gain of linked drivers on its diagonal."""
    dictionaries = [d.with_atoms(d.atoms.astype(np.float64)) for d in circuit.dictionaries]
    n = circuit.n_neurons
    injection = make_injection(untimed(circuit.drivers), np.zeros(1), 1, n)
    if injection.allowed is not None:
        raise ValueError(
            "The circuit has a driver that clamps, which holds cells at zero whatever they "
            "receive; NIR has no node that does. Take it off with circuit.without_drivers(), or "
            "take another reading of it."
        )
    return np.asarray(gram_of(dictionaries) + injection.gain * np.eye(n))


def input_nodes(nir: Any, circuit: Circuit) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Stimuli and drivers, up to the dendrite; the first modality also brings the threshold."""
    nodes, edges, dtype = {}, [], circuit.dtype
    for i, d in enumerate(circuit.dictionaries):
        path = [_numbered("input", i)]
        nodes[path[0]] = nir.Input({"input": np.array([d.n_inputs])})
        if d.weight != 1:
            path.append(_numbered("weight", i))
            nodes[path[-1]] = nir.Scale(np.full(d.n_inputs, d.weight, dtype))
        path.append(_numbered("synapses", i))
        bias = np.full(d.n_neurons, -circuit.transfer.threshold, dtype)
        atoms = d.atoms.copy()  # a graph belongs to whoever asked for it
        nodes[path[-1]] = nir.Linear(atoms) if i else nir.Affine(atoms, bias)
        edges += list(pairwise([*path, "dendrite"]))
    if circuit.drivers:
        nodes["drivers"] = nir.Input({"input": np.array([circuit.n_neurons])})
        edges.append(("drivers", "dendrite"))
    return nodes, edges


def cell_nodes(nir: Any, circuit: Circuit, gram: FloatArray, dt: float) -> dict[str, Any]:
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


def native(value: Any) -> Any:
    """What came through HDF5 as plain Python: bytes are words, numbers of NumPy are numbers."""
    if isinstance(value, Mapping):
        return {str(native(key)): native(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value


def circuit_of(graph: Any, told: Mapping[str, Any]) -> Circuit:
    arrays = Arrays({k: np.array(v) for k, v in told.items() if k.startswith("circuit.")})
    for i in range(len(graph.nodes)):
        node = graph.nodes.get(_numbered("synapses", i))
        if node is not None:
            arrays.held[_place(i)] = np.array(getattr(node, "weight", None))
    try:
        plain = json.loads(str(told.get("circuit")))
    except ValueError as error:
        raise ValueError(f"found no JSON as the circuit in the metadata: {error}") from error
    circuit = read_circuit(plain, "circuit", arrays)
    arrays.none_left()
    return circuit


def compare(found: Any, awaited: Any) -> None:
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
        or not _same(vars(found.nodes[name]), vars(node), slack.get(name, 0.0))
    ]
    if set(map(tuple, found.edges)) != set(awaited.edges):
        wrong.append("edges")
    if not _same(found.metadata, awaited.metadata):
        wrong.append("metadata")
    if wrong:
        raise ValueError(
            f"found {', '.join(wrong)} other than the circuit in the metadata has. The graph was "
            "changed after its export: export the circuit again."
        )


def _same(found: Any, awaited: Any, slack: float = 0.0) -> bool:
    found, awaited = native(found), native(awaited)
    if isinstance(awaited, dict):
        return (
            isinstance(found, dict)
            and found.keys() == awaited.keys()
            and all(_same(found[key], awaited[key], slack) for key in awaited)
        )
    one, other = np.asarray(found), np.asarray(awaited)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if slack and other.dtype.kind == "f":
        return np.allclose(one, other, rtol=0, atol=slack * np.abs(other).max(initial=0))
    return np.array_equal(one, other)
