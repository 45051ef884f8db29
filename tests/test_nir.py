"""NIR: graphs give the spikes of the circuit, are restored exactly, and are validated."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from circuits import SPIKING, random_circuit, random_stimuli
from interpreter import Run
from sklearn.preprocessing import normalize

from spikelca import (
    Circuit,
    CurrentDriver,
    Dictionary,
    Fade,
    HardThreshold,
    Hebbian,
    OrdinalDriver,
    RateNeuron,
    SoftThreshold,
    SpikingNeuron,
)
from spikelca.datasets import load_images
from spikelca.interop import from_nir, read_nir, to_nir, write_nir
from spikelca.learning import learn
from spikelca.model.waveforms import Array, Callable, Pulse
from spikelca.modelfile import ArrayStore, ModelFileError, circuit_to_json

nir = pytest.importorskip("nir", reason="needs the extra nir")
h5py = pytest.importorskip("h5py")

DT, DURATION = 1e-4, 50 * SPIKING.tau
DRIVERS = {
    "none": (),
    "current": (OrdinalDriver(n_classes=2, excitation=0.05, inhibition=0.1),),
    "linked": (OrdinalDriver(n_classes=3, mode="linked", gain=0.3),),
    "electrode": (CurrentDriver(0.07, neurons=[1, 4]), OrdinalDriver(n_classes=2)),
}


def spiking(**options):
    return random_circuit(replace(SPIKING, quantum=0.02), **options)


def serialise(circuit):
    """A circuit as text and the bytes of its arrays."""
    arrays = ArrayStore()
    text = json.dumps(circuit_to_json(circuit, "circuit", arrays))
    return text, {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.arrays.items()}


# ------------------------------------------------------------------------------- spikes


@pytest.mark.parametrize("drivers", DRIVERS.values(), ids=DRIVERS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_interpreted_graph_spikes_as_the_circuit(drivers, dtype):
    circuit = spiking(drivers=drivers, dtype=dtype)
    stimuli, labels = random_stimuli(circuit, 4), [0, 1, 1, 0]
    run = circuit.simulate(stimuli, DURATION, DT, record=("spikes", "current"), labels=labels)
    inputs = {"input": stimuli["a"], "input_1": stimuli["b"]}
    if drivers:
        inputs["drivers"] = run.traces["current"][0]
    spikes = Run(to_nir(circuit, DT), inputs, DT).spikes(run.clock.n_steps)
    counts = run.spikes.counts(4, circuit.n_neurons)
    assert counts.sum() > 100
    assert np.abs(spikes.sum(axis=0) - counts).max() <= 1


@pytest.mark.mnist
@pytest.mark.skipif("SPIKELCA_DATA" not in os.environ, reason="SPIKELCA_DATA must name a folder")
def test_graph_encodes_mnist_spike_for_spike(figure):
    images = load_images("mnist")
    X, X_test = (normalize(x.astype(float)) for x in (images.X_train[:5000], images.X_test[:100]))
    start = Circuit(
        SpikingNeuron(tau=10e-3, quantum=0.02), SoftThreshold(0.1), [Dictionary("mnist", X[:256])]
    )
    batches = (({"mnist": batch}, None) for batch in np.split(X, 20))
    *_, (circuit, _) = learn(start, batches, rng=np.random.default_rng(0))
    stimuli = {"mnist": X_test}
    run = circuit.simulate(stimuli, 50 * circuit.neuron.tau, 1.5e-4, record=("spikes",))
    n_steps, start_step = run.clock.n_steps, run.clock.window_start(0.5)
    spikes = Run(to_nir(circuit, 1.5e-4), {"input": X_test}, 1.5e-4).spikes(n_steps)
    counts = run.spikes.counts(100, 256)
    window = (n_steps - start_step) * 1.5e-4 / circuit.neuron.tau
    code = 0.02 * spikes[start_step:].sum(axis=0) / window
    minimum = circuit.energy(stimuli, circuit.encode(stimuli, 1e-9).code)
    gap = circuit.energy(stimuli, code) / minimum - 1
    difference = np.abs(spikes.sum(axis=0) - counts).max()
    figure(
        f"{counts.sum()} spikes, counts differ by {difference} at most; energy gap {gap.max():.1e}"
    )
    assert difference <= 1
    assert gap.max() < 1e-3


def test_code_differs_without_metadata():
    circuit = spiking()
    stimuli = random_stimuli(circuit, 4)
    inputs = {"input": stimuli["a"], "input_1": stimuli["b"]}
    minimum = circuit.energy(stimuli, circuit.encode(stimuli, 1e-9).code)
    gaps = []
    for metadata in (True, False):
        spikes = Run(to_nir(circuit, DT), inputs, DT, metadata=metadata).spikes(5000)[2500:]
        code = 0.02 * spikes.sum(axis=0) / (2500 * DT / circuit.neuron.tau)
        gaps.append((circuit.energy(stimuli, code) / minimum - 1).max())
    assert gaps[0] < 1e-3 < gaps[1]


# ------------------------------------------------------------------------------- round trip


def make_learned_circuit():
    circuit = spiking()
    return circuit.learn_step(
        random_stimuli(circuit), np.abs(random_stimuli(circuit)["a"] @ np.eye(9, 11))
    )


CIRCUITS = {
    "plain": lambda: spiking(),
    "single precision": lambda: spiking(dtype=np.float32, weights=(1.0, 1.0)),
    "one modality": lambda: spiking(widths=(30,), weights=(1.0,)),
    "weights that round": lambda: spiking(weights=(1 / 3, 0.1)),
    "another floor and tau": lambda: random_circuit(SpikingNeuron(0.02, 0.05, -0.3)),
    "learned": make_learned_circuit,
    "drivers": lambda: spiking(
        drivers=(
            OrdinalDriver(n_classes=2, fade=Fade(0.3)),
            CurrentDriver(Pulse(0.05, 0.01, 0.02) + Array([[0.0], [0.01]], 1e-3), [2]),
        )
    ),
}


@pytest.mark.parametrize("make", CIRCUITS.values(), ids=CIRCUITS)
def test_circuit_is_restored_bit_for_bit(make, tmp_path):
    circuit = make()
    assert serialise(from_nir(to_nir(circuit, DT))) == serialise(circuit)
    write_nir(circuit, tmp_path / "circuit.nir", DT)
    assert serialise(read_nir(tmp_path / "circuit.nir")) == serialise(circuit)


def test_graph_has_shapes_and_metadata():
    graph = to_nir(spiking(), DT)
    assert graph.check_types()
    assert {name: node.input_type["input"].tolist() for name, node in graph.inputs.items()} == {
        "input": [9],
        "input_1": [5],
    }
    assert graph.nodes["output"].output_type["output"].tolist() == [11]
    names = ("reset", "dt", "tau", "quantum", "threshold", "floor")
    assert {name: graph.metadata[name] for name in names} == {
        "reset": "subtract",
        "dt": DT,
        "tau": 10e-3,
        "quantum": 0.02,
        "threshold": 0.1,
        "floor": -0.05,
    }
    assert json.loads(graph.metadata["modalities"]) == {"a": 1.0, "b": 0.7}


def test_failed_export_keeps_old_file(tmp_path):
    write_nir(spiking(), tmp_path / "circuit.nir", DT)
    before = (tmp_path / "circuit.nir").read_bytes()
    with pytest.raises(ValueError, match="RateNeuron"):
        write_nir(random_circuit(), tmp_path / "circuit.nir", DT)
    assert (tmp_path / "circuit.nir").read_bytes() == before


# ------------------------------------------------------------------------------- unsupported

UNSUPPORTED = {
    "rate neurons": (lambda: random_circuit(RateNeuron()), r"got RateNeuron.*SpikingNeuron"),
    "hard": (lambda: spiking(transfer=HardThreshold(0.1)), r"SoftThreshold.*got HardThreshold"),
    "signed": (lambda: spiking(transfer=SoftThreshold(0.1, True)), r"no sign.*-atoms"),
    "residual": (lambda: spiking(wiring="residual"), r"'residual'.*wiring='lateral'"),
    "clamp": (
        lambda: spiking(drivers=(OrdinalDriver(n_classes=2, mode="clamp"),)),
        r"clamps.*without_drivers",
    ),
}


@pytest.mark.parametrize(("make", "message"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_unsupported_circuit_raises_with_remedy(make, message):
    with pytest.raises(ValueError, match=message):
        to_nir(make(), DT)


def test_function_waveform_and_large_step_raise():
    driver = CurrentDriver(Callable(lambda times: 0.0 * times))
    with pytest.raises(TypeError, match="a function"):
        to_nir(spiking(drivers=(driver,)), DT)
    with pytest.raises(ValueError, match=r"`dt` must be below .* got 0\.01 s"):
        to_nir(spiking(), 10e-3)
    with pytest.raises(ValueError, match="> 0"):
        to_nir(spiking(), 0)


def other_graph():
    one = np.ones(2)
    return nir.NIRGraph.from_list(nir.Affine(np.eye(2), one), nir.LIF(one, one, one, one))


def test_graph_of_another_tool_is_rejected():
    with pytest.raises(ValueError, match="no circuit of spikelca"):
        from_nir(other_graph())
    with pytest.raises(ValueError, match=r"must be a nir\.NIRGraph, got dict"):
        from_nir({})


def change(graph, name):
    """Change a graph in the named way."""
    node, metadata = graph.nodes, graph.metadata
    changes = {
        "an atom": lambda: node["synapses"].weight.__setitem__((0, 0), 0.5),
        "a lateral weight": lambda: node["lateral"].weight.__setitem__((0, 1), 9.0),
        "the bias": lambda: node["synapses"].bias.__setitem__(0, 0.0),
        "the threshold": lambda: setattr(node["generator"], "v_threshold", np.ones(11)),
        "another kind of node": lambda: node.update(dendrite=nir.I(np.ones(11))),
        "a node less": lambda: node.pop("output"),
        "an edge less": lambda: graph.edges.pop(),
        "words of a node": lambda: node["generator"].metadata.clear(),
        "quantum": lambda: metadata.update(quantum=0.5),
        "dt": lambda: metadata.update(dt=-1.0),
        "dt of words": lambda: metadata.update(dt="soon"),
        "a word of the circuit": lambda: metadata.update(
            circuit=metadata["circuit"].replace('"decay": 0.95', '"decay": 0.9')
        ),
        "precision": lambda: setattr(
            node["lateral"], "weight", node["lateral"].weight.astype(np.float16)
        ),
        "schema": lambda: metadata.update(schema=99),
        "no JSON": lambda: metadata.update(circuit="{"),
        "deep JSON": lambda: metadata.update(circuit="[" * 100_000),
        "JSON of another thing": lambda: metadata.update(circuit="[1, 2]"),
        "no JSON at all": lambda: metadata.pop("circuit"),
        "an array too many": lambda: metadata.update({"circuit.more": np.ones(3)}),
        "an array less": lambda: metadata.pop("circuit.plasticity.usage"),
        "weights of words": lambda: setattr(node["synapses"], "weight", "heavy"),
        "NaN atoms": lambda: node["synapses"].weight.__setitem__((0, 0), np.nan),
    }  # fmt: skip
    changes[name]()


CHANGES = """a word of the circuit
an atom|a lateral weight|the bias|the threshold|another kind of node|a node less
an edge less|words of a node|quantum|dt|dt of words|precision|schema|no JSON|deep JSON
JSON of another thing|no JSON at all|an array too many|an array less|weights of words
NaN atoms"""


@pytest.mark.parametrize("name", CHANGES.replace("\n", "|").split("|"))
def test_changed_graph_is_rejected(name):
    graph = to_nir(spiking(), DT)
    assert from_nir(graph).n_neurons == 11
    change(graph, name)
    message = r"must|differ from|invalid|unused arrays|no array|NaN|dt"
    with pytest.raises(ValueError, match=message) as caught:
        from_nir(graph)
    assert len(str(caught.value)) < 700


# ------------------------------------------------------------------------------- invalid files


def test_graph_of_schema_1_is_read():
    path = Path(__file__).with_name("data") / "circuit_schema1.nir"
    circuit = read_nir(path)
    assert circuit.dictionaries[0].plasticity == Hebbian(0.5, 0.9)
    assert circuit.neuron.quantum == 0.05
    graph = nir.read(path)
    graph.metadata["circuit"] = graph.metadata["circuit"].replace("Hebbian", "Hebbian ")
    with pytest.raises(ValueError, match=r"metadata|Hebbian"):
        from_nir(graph)


def test_newer_schema_is_named_in_error():
    graph = to_nir(spiking(), DT)
    graph.metadata.update(schema=99)
    with pytest.raises(ValueError, match=r"schema version .* got 99.*Update spikelca"):
        from_nir(graph)


@pytest.fixture
def file(tmp_path):
    write_nir(spiking(), tmp_path / "circuit.nir", DT)
    return tmp_path / "circuit.nir"


def edit(path, function):
    with h5py.File(path, "r+") as f:
        function(f)


def add_external_link(f):
    del f["node/nodes/lateral/weight"]
    f["node/nodes/lateral/weight"] = h5py.ExternalLink("elsewhere.h5", "/weight")


def add_huge_array(f):
    del f["node/nodes/lateral/weight"]
    shape = (1 << 22, 1 << 22)
    f.create_dataset("node/nodes/lateral/weight", shape, "f8", chunks=(1, 1024))


def add_external_bytes(f):
    f.create_dataset("node/more", (4,), "u1", external=[("elsewhere", 0, 4)])


def add_cycle(f):
    f["node/nodes/again"] = f["node"]


INVALID = {
    "empty": lambda path: path.write_bytes(b""),
    "a text": lambda path: path.write_text("a text file"),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:3000]),
    "no graph": lambda path: edit(path, lambda f: f.clear()),
    "a graph without nodes": lambda path: edit(path, lambda f: f["node"].clear()),
    "an unknown node": lambda path: edit(
        path, lambda f: f["node/nodes/lateral/type"].write_direct(np.array(b"Oracle", "O"))
    ),
    "a link to another file": lambda path: edit(path, add_external_link),
    "bytes of another file": lambda path: edit(path, add_external_bytes),
    "an array of 140 TB": lambda path: edit(path, add_huge_array),
    "a graph inside itself": lambda path: edit(path, add_cycle),
    "of another tool": lambda path: nir.write(path, other_graph()),
}


def test_file_that_cannot_be_opened_raises_the_error_of_the_system(file, monkeypatch):
    def fail(path, *args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "open", fail)  # root could open it in spite of its mode
    with pytest.raises(PermissionError, match=r"circuit\.nir"):
        read_nir(file)


@pytest.mark.parametrize("damage", INVALID.values(), ids=INVALID)
def test_invalid_file_raises_error_with_path(file, damage):
    damage(file)
    with pytest.raises(ModelFileError, match=r"circuit\.nir: ") as caught:
        read_nir(file)
    assert len(str(caught.value)) < 700


def test_missing_file_and_folder_raise(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_nir(tmp_path / "missing.nir")
    with pytest.raises(ModelFileError, match="a folder"):
        read_nir(tmp_path)


def test_damaged_file_raises_or_gives_the_circuit(file):
    expected, content, rng = serialise(read_nir(file)), file.read_bytes(), np.random.default_rng(0)
    n_rejected = 0
    for offset in rng.integers(0, len(content), 40):
        damaged = bytearray(content)
        damaged[offset] ^= 1 << rng.integers(8)
        file.write_bytes(damaged)
        try:
            assert serialise(read_nir(file)) == expected
        except ModelFileError:
            n_rejected += 1
    assert n_rejected > 3


# ------------------------------------------------------------------------------- the extra


def test_missing_nir_raises_with_pip_command(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "nir", None)
    message = r"^(nir|h5py) is required .*: pip install 'spikelca\[nir\]'$"
    for call in (
        lambda: to_nir(spiking(), DT),
        lambda: from_nir(None),
        lambda: write_nir(spiking(), tmp_path / "x", DT),
        lambda: read_nir(tmp_path / "x"),
    ):
        with pytest.raises(ImportError, match=message):
            call()


def test_interop_imports_no_optional_package():
    code = (
        "import spikelca.interop, sys;"
        "print(sorted({'nir', 'neo', 'h5py', 'quantities'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
