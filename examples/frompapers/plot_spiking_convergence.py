"""
Spiking LCA converges to the LASSO
==================================

The code of the firing rates of a spiking circuit converges to the LASSO solution with increasing
duration. Shapero et al. (2014) built such a circuit in hardware; Tang, Lin and Davies (2017) proved
the convergence.

S. Shapero, M. Zhu, J. Hasler and C. Rozell, *Optimal sparse approximation with integrate and fire
neurons*, Int. J. Neural Systems 24(5), 2014. P. T. P. Tang, T.-H. Lin and M. Davies, *Sparse coding
by spiking neural networks: convergence theory and computational results*, arXiv:1705.05475.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import normalize

from spikelca import Circuit, Dictionary, SoftThreshold, SpikingNeuron
from spikelca.datasets import load_images

X = normalize(load_images("digits").X_train.astype(float))
images, tau = {"image": X[200:220]}, 10e-3
circuit = Circuit(
    SpikingNeuron(tau=tau, quantum=0.02), SoftThreshold(0.1), [Dictionary("image", X[:100])]
)
optimum = circuit.energy(images, circuit.encode(images, tol=1e-10).code)

durations = np.array([5, 10, 20, 50, 100])
gaps = []
for n_tau in durations:
    run = circuit.simulate(images, duration=n_tau * tau, dt=2e-4)
    gaps.append(circuit.energy(images, run.code) / optimum - 1)
gaps = np.array(gaps)

# %%
# Relative energy above the optimum: median and range of twenty images.

figure, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
ax.fill_between(durations, gaps.min(axis=1), gaps.max(axis=1), color="#88CCEE", alpha=0.4)
ax.loglog(durations, np.median(gaps, axis=1), "o-")
ax.set_xticks(durations, durations)
ax.minorticks_off()
ax.set(xlabel="simulated time, in τ", ylabel="relative energy above the optimum")
plt.show()
