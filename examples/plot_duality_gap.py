"""
The duality gap as an error bound
=================================

With a soft threshold, the response contains the relative duality gap of every code: an upper bound
on the relative difference between its energy and the minimum. Here codes of several tolerances are
compared with codes of a much smaller tolerance.
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
optimum = circuit.energy(images, circuit.encode(images, tol=1e-12).code)

# %%
# No point is above the diagonal: the true difference is never larger than the bound.

figure, ax = plt.subplots(figsize=(6, 4.6), layout="constrained")
for tol, marker in ((1e-1, "o"), (1e-2, "s"), (1e-3, "^"), (1e-4, "x")):
    response = circuit.encode(images, tol=tol)
    true = np.maximum(1 - optimum / circuit.energy(images, response.code), 1e-16)
    ax.loglog(np.maximum(response.gap, 1e-16), true, marker, markersize=4, label=f"tol {tol:g}")
ax.plot([1e-16, 1], [1e-16, 1], "k--", linewidth=1, label="bound")
ax.set(xlabel="duality gap", ylabel="true difference to the minimum")
ax.legend(frameon=False)
plt.show()
