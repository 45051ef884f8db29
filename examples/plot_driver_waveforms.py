"""
Driver currents with waveforms
==============================

A `CurrentDriver` injects an external current with any waveform into chosen neurons. Here a sine and
a pulse bias the competition for one image, and the code changes with them.
"""

import matplotlib.pyplot as plt
from sklearn.preprocessing import normalize

from spikelca import Circuit, CurrentDriver, Dictionary, RateNeuron, SoftThreshold
from spikelca.datasets import load_images
from spikelca.model.waveforms import Pulse, Sine
from spikelca.plotting import colour_of, draw_membrane

X = normalize(load_images("digits").X_train)
drivers = [
    CurrentDriver(Sine(0.08, frequency=10.0), neurons=[2]),
    CurrentDriver(Pulse(0.09, start=0.2, stop=0.3), neurons=[7]),
]
circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("image", X[:40])], drivers)
run = circuit.simulate({"image": X[[100]]}, duration=0.4, record=("u", "current"))

# %%
# Top: the currents. Bottom: the membrane potentials, driven neurons in the same colours.

figure, axes = plt.subplots(2, 1, figsize=(8, 5.5), layout="constrained", sharex=True)
draw_membrane(run.times, run.traces["u"][:, 0], axes[1], threshold=0.1, n_coloured=0)
for number, (neuron, name) in enumerate(((2, "sine into neuron 2"), (7, "pulse into neuron 7"))):
    for ax, trace in zip(axes, ("current", "u"), strict=True):
        line = run.traces[trace][:, 0, neuron]
        ax.plot(run.times * 1e3, line, ("-", "--")[number], color=colour_of(number), label=name)
axes[0].set_ylabel("driver current d")
axes[0].legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
plt.show()
