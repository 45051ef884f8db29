"""
A Brian2 population that listens to the code
============================================

`Circuit.to_brian2` hands out Brian2's own live objects. Here a leaky listener of your own is wired
to the spiking code and recorded with it.
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

listener = NeuronGroup(1, "dg/dt = -g / (20*ms) : 1", method="euler", clock=live.clock)
ears = Synapses(live.population, listener, on_pre="g_post += 0.1", clock=live.clock)
ears.connect()
watch = StateMonitor(listener, "g", record=True, clock=live.clock)
live.add(listener, ears, watch)
live.run(150 * ms)

# %%
# Above the spikes of the code, below what the listener hears.

spikes = live.monitors["spikes"]
figure, axes = plt.subplots(2, 1, figsize=(8, 5), layout="constrained", sharex=True)
draw_raster(spikes.t[:] / (1000 * ms), spikes.i[:], axes[0], n_neurons=40)
axes[0].set_xlabel("")
axes[1].plot(watch.t / ms, watch.g[0])
axes[1].set(xlabel="time (ms)", ylabel="listener g", ylim=(0, None))
plt.show()
