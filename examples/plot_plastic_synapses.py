"""
Plastic synapses learn to recall the printed digit
==================================================

One spiking population, two input populations: a handwritten digit and the printed digit of its
label. Images stream by without a reset, and each synapse follows what meets at it: the error of its
input and a spike of its neuron. With ``engine="brian2"`` the same bits come out of live `Synapses`.
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
both = [Dictionary("written", atoms[0]), Dictionary("printed", atoms[1])]
circuit = Circuit(SpikingNeuron(quantum=0.04), SoftThreshold(0.1), both, wiring="residual")

# %%
# The stream is halted now and then. Unseen images are coded from their pixels alone, and their code
# recalls a print: right if the nearest of the ten printed digits is that of the label.

stops, order = (0, 25, 50, 100, 200, 400, 800), rng.permutation(len(X))
state, recalled, right = None, {}, []
for before, after in zip((0, *stops), stops, strict=False):
    if rows := list(order[before:after]):
        shown = {"written": X[rows], "printed": printed[digits.y_train[rows]]}
        circuit, stream = circuit.learn_in_simulation(shown, 0.15, 2e-4, start=state)
        state = stream.state
    code = circuit.encode({"written": X_test}).code
    recalled[after] = circuit.reconstruct(code, "printed", observed=["written"])
    right.append((normalize(recalled[after]) @ printed.T).argmax(axis=1) == y_test)

ten = [np.flatnonzero(y_test == digit)[0] for digit in range(10)]
lines = {"handwritten, seen": X_test[ten]}
lines |= {f"print after {n}": np.maximum(recalled[n][ten], 0) for n in (0, 100, 800)}
lines |= {"print, expected": printed}
_, axes = plt.subplots(1, 2, figsize=(11, 3.1), layout="constrained", width_ratios=[3, 2])
draw_recall([*lines.values()], [*lines], ax=axes[0])
axes[1].plot(stops, np.mean(right, axis=1), "o-", clip_on=False)
axes[1].set(xlabel="presentations", ylabel="unseen images recalled right", ylim=(0, 1))
plt.show()
