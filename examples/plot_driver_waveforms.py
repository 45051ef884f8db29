"""
Currents of any shape
=====================

A `CurrentDriver` is an experimenter's electrode: a waveform into chosen neurons. Here a sine and a
pulse tip the competition for one image, and the code follows.
"""

import matplotlib.pyplot as plt
from sklearn.preprocessing import normalize

from spikelca import Circuit, CurrentDriver, Dictionary, RateNeuron, SoftThreshold
from spikelca.datasets import load_images
from spikelca.plotting import draw_membrane
from spikelca.waveforms import Pulse, Sine

X = normalize(load_images("digits").X_train)
drivers = [
    CurrentDriver(Sine(0.08, frequency=10.0), neurons=[2]),
    CurrentDriver(Pulse(0.09, start=0.2, stop=0.3), neurons=[7]),
]
circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("image", X[:40])], drivers)
run = circuit.simulate({"image": X[[100]]}, duration=0.4, record=("u", "current"))

# %%
# Above the currents, below the membranes.

figure, axes = plt.subplots(2, 1, figsize=(8, 5.5), layout="constrained", sharex=True)
axes[0].plot(run.times * 1e3, run.traces["current"][:, 0, 2], label="sine into neuron 2")
axes[0].plot(run.times * 1e3, run.traces["current"][:, 0, 7], "--", label="pulse into neuron 7")
axes[0].set_ylabel("driver current d")
axes[0].legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
draw_membrane(run.times, run.traces["u"][:, 0], axes[1], threshold=0.1, most=6)
plt.show()
