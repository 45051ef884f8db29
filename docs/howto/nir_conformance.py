"""Which simulators that read NIR run an exported circuit rightly? All are asked with one file.

::

    python nir_conformance.py export FOLDER         where spikelca[nir] is installed
    python nir_conformance.py run FOLDER [NAME ..]  where simulators are; prints rows of the table

The second half needs numpy, nir and the simulators only. A circuit of 64 atoms sees 8 digits for
50 tau; judged is the code read from the spikes of the last 25: its energy above the optimum (below
1e-3 is right), and the counts beside ours.

Two files hold the same circuit: in seconds, and with the step as the unit of time, for simulators
that have no clock. Both lack ``v_reset``, which is zero: nir 1.0.4, to which these simulators are
bound, cannot read a file that has it.
"""

import argparse
import importlib.metadata
import warnings
from pathlib import Path

import numpy as np

DT, TAU, QUANTUM, LAM = 1e-4, 10e-3, 0.02, 0.1


def export(folder):
    """Write the circuit, the images, and what our engine makes of them."""
    import h5py
    from sklearn.preprocessing import normalize

    from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
    from spikelca.datasets import load_images
    from spikelca.interop import write_nir
    from spikelca.learning import learn

    X = normalize(load_images("digits").X_train.astype(float))
    circuit = Circuit(SpikingNeuron(TAU, QUANTUM), SoftThreshold(LAM), [Dictionary("x", X[:64])])
    batches = [({"x": X[i : i + 100]}, None) for i in range(0, len(X) - 100, 100)] * 3
    *_, (circuit, _) = learn(circuit, batches, rng=np.random.default_rng(0))
    in_steps = circuit.replace(neuron=SpikingNeuron(TAU / DT, QUANTUM))
    for name, made, dt in (("seconds", circuit, DT), ("steps", in_steps, 1.0)):
        write_nir(made, folder / f"{name}.nir", dt)
        with h5py.File(folder / f"{name}.nir", "r+") as file:
            del file["node/nodes/generator/v_reset"]
    shown = {"x": X[-8:]}
    run = circuit.simulate(shown, 50 * TAU, DT, record=("spikes",))
    best = circuit.energy(shown, circuit.encode(shown, 1e-10).code)
    counts = run.spikes.counts(8, 64)
    np.savez(folder / "trial.npz", X=X[-8:], atoms=circuit.dictionaries[0].atoms, best=best,
             counts=counts, n_steps=run.clock.n_steps)  # fmt: skip


def stepped(model, X, n_steps):
    """A torch model under a constant input, one step a call: (n_steps, n_samples, n_neurons)."""
    import torch

    torch.set_num_threads(1)
    images, state, spikes = torch.tensor(X).float(), None, []
    with torch.no_grad():
        for _ in range(n_steps):
            out, state = model(images) if state is None else model(images, state)
            spikes.append(out.numpy().copy())
    return np.array(spikes)


def sinabs(folder, trial):
    import nir
    from sinabs.nir import from_nir

    model = from_nir(nir.read(folder / "steps.nir"), batch_size=len(trial["X"]))
    return stepped(model, trial["X"], int(trial["n_steps"]))


def sinabs_helped(folder, trial):
    """NIR's LI divides its input by tau, sinabs does not: here it is done by hand."""
    import nir
    import torch
    from sinabs.nir import from_nir

    model = from_nir(nir.read(folder / "steps.nir"), batch_size=len(trial["X"]))
    decay = 1 - np.exp(-DT / TAU)
    with torch.no_grad():
        for layer in (model.synapses, model.lateral):
            layer.weight *= decay
            layer.bias *= decay
    return stepped(model, trial["X"], int(trial["n_steps"]))


def norse(folder, trial):
    import nir
    from norse.torch import from_nir

    model = from_nir(nir.read(folder / "steps.nir"), dt=1.0)
    return stepped(model, trial["X"], int(trial["n_steps"]))


def snntorch(folder, trial):
    import nir
    from snntorch.import_nir import import_from_nir

    model = import_from_nir(nir.read(folder / "steps.nir"))
    return stepped(model, trial["X"], int(trial["n_steps"]))


def rockpool(folder, trial):
    import nir
    from rockpool.nn.modules.torch.nir import from_nir

    return stepped(from_nir(nir.read(folder / "seconds.nir")), trial["X"], int(trial["n_steps"]))


READERS = {f.__name__: f for f in (sinabs, sinabs_helped, norse, snntorch, rockpool)}


def judged(spikes, trial):
    """What the spikes of a simulator are worth."""
    half = int(trial["n_steps"]) // 2
    code = QUANTUM * spikes[half:].sum(axis=0) / (half * DT / TAU)
    error = trial["X"] - code @ trial["atoms"]
    gap = (0.5 * (error**2).sum(axis=1) + LAM * code.sum(axis=1)) / trial["best"] - 1
    off = np.abs(spikes.sum(axis=0) - trial["counts"])
    right = "right" if gap.max() < 1e-3 else "wrong"
    return (
        f"{right}: energy gap {gap.max():.1e} at most; counts of {trial['counts'].max()} spikes "
        f"at most differ by {off.max():.0f}"
    )


def run(folder, names):
    """Print a row for each simulator."""
    warnings.simplefilter("ignore")
    trial = dict(np.load(folder / "trial.npz"))
    for name in names or READERS:
        version = importlib.metadata.version(name.split("_")[0])
        try:
            outcome = judged(READERS[name](folder, trial), trial)
        except Exception as error:  # a reader that fails is a finding
            outcome = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        print(f"| {name} | {version} | {outcome} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["export", "run"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help=f"out of {list(READERS)}; all unless told")
    told = parser.parse_args()
    export(told.folder) if told.verb == "export" else run(told.folder, told.names)
