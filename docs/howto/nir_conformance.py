"""Compatibility of simulators that read NIR: one exported circuit, simulated by each of them.

::

    python nir_conformance.py export FOLDER         requires spikelca[nir]
    python nir_conformance.py run FOLDER [NAME ..]  requires simulators; prints rows of the table

The command ``run`` requires numpy, nir and the simulators only. A circuit of 64 atoms is simulated
for 50 tau with 8 digits as stimuli. The code is read from the spikes of the last 25 tau; its energy
above the optimum (correct if below 1e-3) and the spike counts are compared with those of spikelca.

Two files contain the same circuit: one with times in seconds, one with the step as the unit of
time, for simulators without a clock. Both lack ``v_reset``, which is zero: nir 1.0.4, which these
simulators require, cannot read a file with this field.
"""

import argparse
import importlib.metadata
import warnings
from pathlib import Path

import numpy as np

DT, TAU, QUANTUM, LAM = 1e-4, 10e-3, 0.02, 0.1


def export(folder):
    """Write the circuit, the images, and the reference results of spikelca."""
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
    for name, exported, dt in (("seconds", circuit, DT), ("steps", in_steps, 1.0)):
        write_nir(exported, folder / f"{name}.nir", dt)
        with h5py.File(folder / f"{name}.nir", "r+") as file:
            del file["node/nodes/generator/v_reset"]
    stimuli = {"x": X[-8:]}
    run = circuit.simulate(stimuli, 50 * TAU, DT, record=("spikes",))
    best = circuit.energy(stimuli, circuit.encode(stimuli, 1e-10).code)
    counts = run.spikes.counts(8, 64)
    np.savez(folder / "trial.npz", X=X[-8:], atoms=circuit.dictionaries[0].atoms, best=best,
             counts=counts, n_steps=run.clock.n_steps)  # fmt: skip


def simulate_torch(model, X, n_steps):
    """Spikes of a torch model with constant input: (n_steps, n_samples, n_neurons)."""
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
    return simulate_torch(model, trial["X"], int(trial["n_steps"]))


def sinabs_scaled(folder, trial):
    """Simulate with sinabs, weights divided by tau as the LI node of NIR requires."""
    import nir
    import torch
    from sinabs.nir import from_nir

    model = from_nir(nir.read(folder / "steps.nir"), batch_size=len(trial["X"]))
    decay = 1 - np.exp(-DT / TAU)
    with torch.no_grad():
        for layer in (model.synapses, model.lateral):
            layer.weight *= decay
            layer.bias *= decay
    return simulate_torch(model, trial["X"], int(trial["n_steps"]))


def norse(folder, trial):
    import nir
    from norse.torch import from_nir

    model = from_nir(nir.read(folder / "steps.nir"), dt=1.0)
    return simulate_torch(model, trial["X"], int(trial["n_steps"]))


def snntorch(folder, trial):
    import nir
    from snntorch.import_nir import import_from_nir

    model = import_from_nir(nir.read(folder / "steps.nir"))
    return simulate_torch(model, trial["X"], int(trial["n_steps"]))


def rockpool(folder, trial):
    import nir
    from rockpool.nn.modules.torch.nir import from_nir

    return simulate_torch(
        from_nir(nir.read(folder / "seconds.nir")), trial["X"], int(trial["n_steps"])
    )


READERS = {f.__name__: f for f in (sinabs, sinabs_scaled, norse, snntorch, rockpool)}


def compare(spikes, trial):
    """Describe the energy and the spike counts of a simulator, compared with the reference."""
    half = int(trial["n_steps"]) // 2
    code = QUANTUM * spikes[half:].sum(axis=0) / (half * DT / TAU)
    error = trial["X"] - code @ trial["atoms"]
    gap = (0.5 * (error**2).sum(axis=1) + LAM * code.sum(axis=1)) / trial["best"] - 1
    difference = np.abs(spikes.sum(axis=0) - trial["counts"])
    verdict = "correct" if gap.max() < 1e-3 else "wrong"
    return (
        f"{verdict}: energy gap at most {gap.max():.1e}; counts of up to {trial['counts'].max()} "
        f"spikes differ by at most {difference.max():.0f}"
    )


def run(folder, names):
    """Print a row for each simulator."""
    warnings.simplefilter("ignore")
    trial = dict(np.load(folder / "trial.npz"))
    for name in names or READERS:
        version = importlib.metadata.version(name.split("_")[0])
        try:
            outcome = compare(READERS[name](folder, trial), trial)
        except Exception as error:  # the failure of a reader is a result
            outcome = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        print(f"| {name} | {version} | {outcome} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["export", "run"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help=f"some of {list(READERS)} (default: all)")
    args = parser.parse_args()
    export(args.folder) if args.command == "export" else run(args.folder, args.names)
