"""
Reading the certificate
=======================

Every soft code comes with a relative duality gap: an upper bound on how much lower the energy could
be. Here codes are asked for at several tolerances and held against a far finer one.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import normalize

from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold
from spikelca.datasets import load_images

digits = load_images("digits")
X = normalize(digits.X_test.astype(float))
atoms = normalize(digits.X_train[:150].astype(float))
circuit = Circuit(RateNeuron(), SoftThreshold(0.05), [Dictionary("image", atoms)])
images = {"image": X[:200]}
best = circuit.energy(images, circuit.encode(images, tol=1e-12).code)

# %%
# No point lies above the diagonal: the certificate never promises too much.

figure, ax = plt.subplots(figsize=(6, 4.6), layout="constrained")
for tol, mark in ((1e-1, "o"), (1e-2, "s"), (1e-3, "^"), (1e-4, "x")):
    found = circuit.encode(images, tol=tol)
    true = np.maximum(1 - best / circuit.energy(images, found.code), 1e-16)
    ax.loglog(np.maximum(found.gap, 1e-16), true, mark, markersize=4, label=f"tol {tol:g}")
ax.plot([1e-16, 1], [1e-16, 1], "k--", linewidth=1, label="bound")
ax.set(xlabel="certified gap", ylabel="true distance to the optimum")
ax.legend(frameon=False)
plt.show()
