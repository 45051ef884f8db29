"""
Spike train analysis with Elephant
==================================

`to_neo` converts the spikes of a simulation for tools of electrophysiology. Here Elephant computes
the firing rates, the regularity and the correlation of the neurons of the code. It requires
``pip install 'spikelca[neo]' elephant``.
"""

import matplotlib.pyplot as plt
import numpy as np
import quantities as pq
from elephant.conversion import BinnedSpikeTrain
from elephant.spike_train_correlation import correlation_coefficient
from elephant.statistics import cv, isi, mean_firing_rate
from sklearn.preprocessing import normalize

from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
from spikelca.datasets import load_images
from spikelca.interop import to_neo
from spikelca.plotting import draw_raster

X = normalize(load_images("digits").X_train)
circuit = Circuit(SpikingNeuron(), SoftThreshold(0.1), [Dictionary("image", X[:60])])
run = circuit.simulate({"image": X[[100]]}, duration=2.0, dt=2e-4, record=("spikes",))

# %%
# Neurons that are active in the second half of the run, after the competition.

trains = [t.time_slice(1 * pq.s, 2 * pq.s) for t in to_neo(run).segments[0].spiketrains]
trains = [train for train in trains if len(train) > 5]
names = [train.annotations["neuron"] for train in trains]
rates = [float(mean_firing_rate(train).rescale("Hz")) for train in trains]
variation = [cv(isi(train)) for train in trains]
correlation = correlation_coefficient(BinnedSpikeTrain(trains, bin_size=5 * pq.ms))

figure, axes = plt.subplots(2, 2, figsize=(9, 6), layout="constrained")
draw_raster(run.spikes.step * run.clock.dt, run.spikes.neuron, axes[0, 0], n_neurons=60)
axes[0, 0].set(xlim=(0, 250), title="competition and steady state")
axes[0, 1].bar(np.arange(len(names)), rates, tick_label=names, color="#88CCEE")
axes[0, 1].set(xlabel="neuron", ylabel="mean rate (Hz)")
axes[1, 0].bar(np.arange(len(names)), variation, tick_label=names, color="#DDCC77")
axes[1, 0].set(xlabel="neuron", ylabel="CV of intervals (Poisson: 1)", ylim=(0, 1))
image = axes[1, 1].imshow(correlation, cmap="RdBu_r", vmin=-1, vmax=1)
axes[1, 1].set_xticks(range(len(names)), names)
axes[1, 1].set_yticks(range(len(names)), names)
axes[1, 1].set(xlabel="neuron", ylabel="neuron", title="correlation of counts in 5 ms")
figure.colorbar(image, ax=axes[1, 1])
plt.show()
