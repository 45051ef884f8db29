"""
Learning in simulation with plastic synapses
============================================

One spiking population has two input populations, for a handwritten digit and the printed digit of
its label. Images are presented without a reset, and each synapse changes by the error of its input
at each spike of its neuron. With ``engine="brian2"``, Brian2 `Synapses` give bit-identical results.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import normalize

from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
from spikelca.datasets import glyphs_for, load_images, printed_digits
from spikelca.model.atoms import normalise_stacked
from spikelca.plotting import draw_recall

digits, rng = load_images("digits"), np.random.default_rng(0)
X, X_test, y_test = normalize(digits.X_train), normalize(digits.X_test), digits.y_test
printed = normalize(glyphs_for(np.arange(10), printed_digits(digits.image_shape)))

atoms = normalise_stacked([rng.random((64, 64)), 0.3 * rng.random((64, 64))], [1.0, 1.0])
dictionaries = [Dictionary("written", atoms[0]), Dictionary("printed", atoms[1])]
circuit = Circuit(SpikingNeuron(quantum=0.04), SoftThreshold(0.1), dictionaries, wiring="residual")

# %%
# Learning is interrupted several times. Test images are encoded from their pixels alone, and the
# code reconstructs a printed digit: correct if the nearest printed digit is that of the label.

stops, order = (0, 25, 50, 100, 200, 400, 800), rng.permutation(len(X))
state, recalled, correct = None, {}, []
for start, stop in zip((0, *stops), stops, strict=False):
    if rows := list(order[start:stop]):
        stimuli = {"written": X[rows], "printed": printed[digits.y_train[rows]]}
        circuit, result = circuit.learn_in_simulation(stimuli, 0.15, 2e-4, start=state)
        state = result.state
    code = circuit.encode({"written": X_test}).code
    recalled[stop] = circuit.reconstruct(code, "printed", observed=["written"])
    correct.append((normalize(recalled[stop]) @ printed.T).argmax(axis=1) == y_test)

rows = [np.flatnonzero(y_test == digit)[0] for digit in range(10)]
images = {"handwritten": X_test[rows]}
images |= {f"print after {n}": np.maximum(recalled[n][rows], 0) for n in (0, 100, 800)}
images |= {"expected print": printed}
_, axes = plt.subplots(1, 2, figsize=(11, 3.1), layout="constrained", width_ratios=[3, 2])
draw_recall([*images.values()], [*images], ax=axes[0])
axes[1].plot(stops, np.mean(correct, axis=1), "o-", clip_on=False)
axes[1].set(xlabel="presentations", ylabel="accuracy of recall, test images", ylim=(0, 1))
plt.show()
