"""
Add a Brian2 neuron to a circuit
================================

`Circuit.to_brian2` returns the Brian2 objects of a circuit. Here a leaky readout neuron receives
the spikes of the code and is recorded.
"""

import matplotlib.pyplot as plt
from brian2 import NeuronGroup, StateMonitor, Synapses, ms
from sklearn.preprocessing import normalize

from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
from spikelca.datasets import load_images
from spikelca.plotting import draw_raster

X = normalize(load_images("digits").X_train.astype(float))
circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), [Dictionary("image", X[:40])])
live = circuit.to_brian2({"image": X[[100]]}, dt=2e-4, record=("spikes",))
print(live.equations)

readout = NeuronGroup(1, "dg/dt = -g / (20*ms) : 1", method="euler", clock=live.clock)
synapses = Synapses(live.population, readout, on_pre="g_post += 0.1", clock=live.clock)
synapses.connect()
monitor = StateMonitor(readout, "g", record=True, clock=live.clock)
live.add(readout, synapses, monitor)
live.run(150 * ms)

# %%
# Top: the spikes of the code. Bottom: the state of the readout neuron.

spikes = live.monitors["spikes"]
figure, axes = plt.subplots(2, 1, figsize=(8, 5), layout="constrained", sharex=True)
draw_raster(spikes.t[:] / (1000 * ms), spikes.i[:], axes[0], n_neurons=40)
axes[0].set_xlabel("")
axes[1].plot(monitor.t / ms, monitor.g[0])
axes[1].set(xlabel="time (ms)", ylabel="state g of the readout", ylim=(0, None))
plt.show()
