"""
Spikes compute the same code
============================

The spiking circuit has the same atoms, inhibition and threshold; its neurons speak in spikes that
carry a quantum each. Read over the last quarter of the run, the rates are the settled code.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import normalize

from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
from spikelca.datasets import load_images
from spikelca.plotting import colour_of, draw_code, draw_membrane, draw_raster

X = normalize(load_images("digits").X_train)
neuron = SpikingNeuron(tau=10e-3, quantum=0.02)
circuit = Circuit(neuron, SoftThreshold(0.1), [Dictionary("image", X[:60])])
image = {"image": X[[100]]}

run = circuit.simulate(image, duration=0.4, dt=2e-4, record=("u", "spikes"))
settled = circuit.encode(image, tol=1e-8).code[0]

# %%
# The membrane jumps with every spike of a neighbour, and settles in the mean.

figure, axes = plt.subplots(3, 1, figsize=(8, 8), layout="constrained")
draw_membrane(run.times, run.traces["u"][:, 0], axes[0], threshold=0.1, n_coloured=5)
draw_raster(run.spikes.step * run.clock.dt, run.spikes.neuron, axes[1], n_neurons=60)
axes[1].sharex(axes[0])
draw_code(settled, axes[2])
firing = np.flatnonzero(run.code[0])
axes[2].plot(firing, run.code[0, firing], "o", color=colour_of(1), label="quantum x rate x tau")
axes[2].legend(frameon=False, title="bars: the settled code")
plt.show()
