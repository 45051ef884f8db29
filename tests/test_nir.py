"""NIR: the graph is the circuit, spike by spike; the circuit comes back; what is odd is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

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

DT, LONG = 1e-4, 50 * SPIKING.tau
DRIVERS = {
    "none": (),
    "current": (OrdinalDriver(n_classes=2, excitation=0.05, inhibition=0.1),),
    "linked": (OrdinalDriver(n_classes=3, reading="linked", gain=0.3),),
    "electrode": (CurrentDriver(0.07, neurons=[1, 4]), OrdinalDriver(n_classes=2)),
}


def spiking(**options):
    return random_circuit(replace(SPIKING, quantum=0.02), **options)


def bits(circuit):
    """All that a circuit is, as words and bytes."""
    arrays = ArrayStore()
    told = json.dumps(circuit_to_json(circuit, "circuit", arrays))
    return told, {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.arrays.items()}


# ------------------------------------------------------------------------------- the same spikes


@pytest.mark.parametrize("drivers", DRIVERS.values(), ids=DRIVERS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_interpreted_graph_spikes_as_the_circuit_does(drivers, dtype):
    circuit = spiking(drivers=drivers, dtype=dtype)
    stimuli, labels = random_stimuli(circuit, 4), [0, 1, 1, 0]
    run = circuit.simulate(stimuli, LONG, DT, record=("spikes", "current"), labels=labels)
    inputs = {"input": stimuli["a"], "input_1": stimuli["b"]}
    if drivers:
        inputs["drivers"] = run.traces["current"][0]
    spikes = Run(to_nir(circuit, DT), inputs, DT).spikes(run.clock.n_steps)
    ours = run.spikes.counts(4, circuit.n_neurons)
    assert ours.sum() > 100
    assert np.abs(spikes.sum(axis=0) - ours).max() <= 1


@pytest.mark.mnist
@pytest.mark.skipif("SPIKELCA_DATA" not in os.environ, reason="SPIKELCA_DATA names no folder")
def test_the_graph_codes_a_hundred_images_of_mnist_spike_for_spike(figure):
    images = load_images("mnist")
    X, shown = (normalize(x.astype(float)) for x in (images.X_train[:5000], images.X_test[:100]))
    start = Circuit(
        SpikingNeuron(tau=10e-3, quantum=0.02), SoftThreshold(0.1), [Dictionary("mnist", X[:256])]
    )
    batches = (({"mnist": batch}, None) for batch in np.split(X, 20))
    *_, (circuit, _) = learn(start, batches, rng=np.random.default_rng(0))
    stimuli = {"mnist": shown}
    run = circuit.simulate(stimuli, 50 * circuit.neuron.tau, 1.5e-4, record=("spikes",))
    steps, late = run.clock.n_steps, run.clock.window_start(0.5)
    spikes = Run(to_nir(circuit, 1.5e-4), {"input": shown}, 1.5e-4).spikes(steps)
    ours = run.spikes.counts(100, 256)
    code = 0.02 * spikes[late:].sum(axis=0) / ((steps - late) * 1.5e-4 / circuit.neuron.tau)
    best = circuit.energy(stimuli, circuit.encode(stimuli, 1e-9).code)
    gap = circuit.energy(stimuli, code) / best - 1
    most = np.abs(spikes.sum(axis=0) - ours).max()
    figure(f"{ours.sum()} spikes, counts differ by {most} at most; energy gap {gap.max():.1e}")
    assert most <= 1
    assert gap.max() < 1e-3


def test_a_reader_that_ignores_the_metadata_computes_another_code():
    circuit = spiking()
    stimuli = random_stimuli(circuit, 4)
    inputs = {"input": stimuli["a"], "input_1": stimuli["b"]}
    best = circuit.energy(stimuli, circuit.encode(stimuli, 1e-9).code)
    gaps = []
    for metadata in (True, False):
        spikes = Run(to_nir(circuit, DT), inputs, DT, metadata=metadata).spikes(5000)[2500:]
        code = 0.02 * spikes.sum(axis=0) / (2500 * DT / circuit.neuron.tau)
        gaps.append((circuit.energy(stimuli, code) / best - 1).max())
    assert gaps[0] < 1e-3 < gaps[1]


# ------------------------------------------------------------------------------- there and back


def learned():
    circuit = spiking()
    return circuit.learn(
        random_stimuli(circuit), np.abs(random_stimuli(circuit)["a"] @ np.eye(9, 11))
    )


CIRCUITS = {
    "plain": lambda: spiking(),
    "single precision": lambda: spiking(dtype=np.float32, weights=(1.0, 1.0)),
    "one modality": lambda: spiking(widths=(30,), weights=(1.0,)),
    "weights that round": lambda: spiking(weights=(1 / 3, 0.1)),
    "a floor and a tau of its own": lambda: random_circuit(SpikingNeuron(0.02, 0.05, -0.3)),
    "learned": learned,
    "drivers": lambda: spiking(
        drivers=(
            OrdinalDriver(n_classes=2, fade=Fade(0.3)),
            CurrentDriver(Pulse(0.05, 0.01, 0.02) + Array([[0.0], [0.01]], 1e-3), [2]),
        )
    ),
}


@pytest.mark.parametrize("make", CIRCUITS.values(), ids=CIRCUITS)
def test_a_circuit_comes_back_to_the_last_bit(make, tmp_path):
    circuit = make()
    assert bits(from_nir(to_nir(circuit, DT))) == bits(circuit)
    write_nir(circuit, tmp_path / "circuit.nir", DT)
    assert bits(read_nir(tmp_path / "circuit.nir")) == bits(circuit)


def test_the_graph_has_explicit_shapes_and_says_what_nir_has_no_words_for():
    graph = to_nir(spiking(), DT)
    assert graph.check_types()
    assert {name: node.input_type["input"].tolist() for name, node in graph.inputs.items()} == {
        "input": [9],
        "input_1": [5],
    }
    assert graph.nodes["output"].output_type["output"].tolist() == [11]
    told = {n: graph.metadata[n] for n in ("reset", "dt", "tau", "quantum", "threshold", "floor")}
    assert told == {
        "reset": "subtract",
        "dt": DT,
        "tau": 10e-3,
        "quantum": 0.02,
        "threshold": 0.1,
        "floor": -0.05,
    }
    assert json.loads(graph.metadata["modalities"]) == {"a": 1.0, "b": 0.7}


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_nir(spiking(), tmp_path / "circuit.nir", DT)
    before = (tmp_path / "circuit.nir").read_bytes()
    with pytest.raises(ValueError, match="rate neurons"):
        write_nir(random_circuit(), tmp_path / "circuit.nir", DT)
    assert (tmp_path / "circuit.nir").read_bytes() == before


# ------------------------------------------------------------------------------- what is refused

REFUSED = {
    "rate neurons": (lambda: random_circuit(RateNeuron()), r"rate neurons.*SpikingNeuron"),
    "hard": (lambda: spiking(transfer=HardThreshold(0.1)), r"hard threshold.*SoftThreshold"),
    "signed": (lambda: spiking(transfer=SoftThreshold(0.1, True)), r"no sign.*-atoms"),
    "residual": (lambda: spiking(wiring="residual"), r"'residual'.*wiring='lateral'"),
    "clamp": (
        lambda: spiking(drivers=(OrdinalDriver(n_classes=2, reading="clamp"),)),
        r"clamps.*without_drivers",
    ),
}


@pytest.mark.parametrize(("make", "words"), REFUSED.values(), ids=REFUSED)
def test_what_nir_cannot_say_is_refused_with_what_to_do(make, words):
    with pytest.raises(ValueError, match=words):
        to_nir(make(), DT)


def test_a_function_as_waveform_and_a_step_that_is_too_long_are_refused():
    driver = CurrentDriver(Callable(lambda times: 0.0 * times))
    with pytest.raises(TypeError, match="a function"):
        to_nir(spiking(drivers=(driver,)), DT)
    with pytest.raises(ValueError, match=r"dt is 0\.01 s; below .* smaller dt"):
        to_nir(spiking(), 10e-3)
    with pytest.raises(ValueError, match="above zero"):
        to_nir(spiking(), 0)


def other_graph():
    one = np.ones(2)
    return nir.NIRGraph.from_list(nir.Affine(np.eye(2), one), nir.LIF(one, one, one, one))


def test_graphs_of_other_origin_are_refused():
    with pytest.raises(ValueError, match="no circuit of spikelca"):
        from_nir(other_graph())
    with pytest.raises(ValueError, match=r"found dict; a nir\.NIRGraph"):
        from_nir({})


def change(graph, how):
    """A graph that somebody has tampered with."""
    node, told = graph.nodes, graph.metadata
    steps = {
        "an atom": lambda: node["synapses"].weight.__setitem__((0, 0), 0.5),
        "a lateral weight": lambda: node["lateral"].weight.__setitem__((0, 1), 9.0),
        "the bias": lambda: node["synapses"].bias.__setitem__(0, 0.0),
        "the threshold": lambda: setattr(node["generator"], "v_threshold", np.ones(11)),
        "another kind of node": lambda: node.update(dendrite=nir.I(np.ones(11))),
        "a node less": lambda: node.pop("output"),
        "an edge less": lambda: graph.edges.pop(),
        "words of a node": lambda: node["generator"].metadata.clear(),
        "quantum": lambda: told.update(quantum=0.5),
        "dt": lambda: told.update(dt=-1.0),
        "dt of words": lambda: told.update(dt="soon"),
        "a word of the circuit": lambda: told.update(
            circuit=told["circuit"].replace('"memory": 0.95', '"memory": 0.9')
        ),
        "schema": lambda: told.update(schema=99),
        "no JSON": lambda: told.update(circuit="{"),
        "deep JSON": lambda: told.update(circuit="[" * 100_000),
        "JSON of another thing": lambda: told.update(circuit="[1, 2]"),
        "no JSON at all": lambda: told.pop("circuit"),
        "an array too many": lambda: told.update({"circuit.more": np.ones(3)}),
        "an array less": lambda: told.pop("circuit.plasticity.usage"),
        "weights of words": lambda: setattr(node["synapses"], "weight", "heavy"),
        "atoms that are no numbers": lambda: node["synapses"].weight.__setitem__((0, 0), np.nan),
    }  # fmt: skip
    steps[how]()


HOWS = """a word of the circuit
an atom|a lateral weight|the bias|the threshold|another kind of node|a node less
an edge less|words of a node|quantum|dt|dt of words|schema|no JSON|deep JSON|JSON of another thing
no JSON at all|an array too many|an array less|weights of words|atoms that are no numbers"""


@pytest.mark.parametrize("how", HOWS.replace("\n", "|").split("|"))
def test_a_graph_that_was_changed_is_one_clear_error(how):
    graph = to_nir(spiking(), DT)
    assert from_nir(graph).n_neurons == 11
    change(graph, how)
    with pytest.raises(ValueError, match=r"found|awaited") as told:
        from_nir(graph)
    assert len(str(told.value)) < 700


# ------------------------------------------------------------------------------- odd files


@pytest.fixture
def file(tmp_path):
    write_nir(spiking(), tmp_path / "circuit.nir", DT)
    return tmp_path / "circuit.nir"


def reopened(path, how):
    with h5py.File(path, "r+") as f:
        how(f)


def link_outside(f):
    del f["node/nodes/lateral/weight"]
    f["node/nodes/lateral/weight"] = h5py.ExternalLink("elsewhere.h5", "/weight")


def huge(f):
    del f["node/nodes/lateral/weight"]
    shape = (1 << 22, 1 << 22)
    f.create_dataset("node/nodes/lateral/weight", shape, "f8", chunks=(1, 1024))


def raw_bytes_elsewhere(f):
    f.create_dataset("node/more", (4,), "u1", external=[("elsewhere", 0, 4)])


def own_ancestor(f):
    f["node/nodes/again"] = f["node"]


ODD = {
    "empty": lambda path: path.write_bytes(b""),
    "a text": lambda path: path.write_text("a graph, once"),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:3000]),
    "no graph": lambda path: reopened(path, lambda f: f.clear()),
    "a graph without nodes": lambda path: reopened(path, lambda f: f["node"].clear()),
    "an unknown node": lambda path: reopened(
        path, lambda f: f["node/nodes/lateral/type"].write_direct(np.array(b"Oracle", "O"))
    ),
    "a link to another file": lambda path: reopened(path, link_outside),
    "bytes of another file": lambda path: reopened(path, raw_bytes_elsewhere),
    "an array of 140 TB": lambda path: reopened(path, huge),
    "a graph inside itself": lambda path: reopened(path, own_ancestor),
    "of another tool": lambda path: nir.write(path, other_graph()),
}


@pytest.mark.parametrize("damage", ODD.values(), ids=ODD)
def test_an_odd_file_is_one_error_that_names_it(file, damage):
    damage(file)
    with pytest.raises(ModelFileError, match=r"circuit\.nir: ") as told:
        read_nir(file)
    assert len(str(told.value)) < 700


def test_a_file_that_is_not_there_is_said_so_and_a_folder_is_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_nir(tmp_path / "nothing.nir")
    with pytest.raises(ModelFileError, match="a folder"):
        read_nir(tmp_path)


def test_a_damaged_file_is_an_error_or_the_circuit_never_another_one(file):
    sound, whole, rng = bits(read_nir(file)), file.read_bytes(), np.random.default_rng(0)
    refused = 0
    for place in rng.integers(0, len(whole), 40):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        file.write_bytes(damaged)
        try:
            assert bits(read_nir(file)) == sound
        except ModelFileError:
            refused += 1
    assert refused > 3


# ------------------------------------------------------------------------------- the extra


def test_without_nir_one_sentence_says_how_to_have_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "nir", None)
    for call in (
        lambda: to_nir(spiking(), DT),
        lambda: from_nir(None),
        lambda: write_nir(spiking(), tmp_path / "x", DT),
        lambda: read_nir(tmp_path / "x"),
    ):
        with pytest.raises(ImportError, match=r"^(nir|h5py) is required .*: pip install 'spikelca\[nir\]'$"):
            call()


def test_the_room_is_entered_without_any_of_the_extras():
    code = (
        "import spikelca.interop, sys;"
        "print(sorted({'nir', 'neo', 'h5py', 'quantities'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
