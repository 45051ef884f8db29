"""
Steady-state code of a spiking circuit
======================================

The spiking circuit has the same atoms, inhibition and threshold as the rate circuit; its neurons
communicate by spikes of fixed amplitude (`quantum`). The firing rates in the last quarter of the
run approximate the steady-state code.
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
steady_code = circuit.encode(image, tol=1e-8).code[0]

# %%
# Every spike of another neuron changes the membrane potential, which converges on average.

figure, axes = plt.subplots(3, 1, figsize=(8, 8), layout="constrained")
draw_membrane(run.times, run.traces["u"][:, 0], axes[0], threshold=0.1, n_coloured=5)
draw_raster(run.spikes.step * run.clock.dt, run.spikes.neuron, axes[1], n_neurons=60)
axes[1].sharex(axes[0])
draw_code(steady_code, axes[2])
active = np.flatnonzero(run.code[0])
axes[2].plot(active, run.code[0, active], "o", color=colour_of(1), label="quantum x rate x tau")
axes[2].legend(frameon=False, title="bars: steady-state code")
plt.show()
