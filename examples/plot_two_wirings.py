"""
Lateral and residual wiring
===========================

Lateral wiring, and residual wiring in which an input population represents the reconstruction
error: both are equal in exact arithmetic, and nearly equal in double precision.
"""

import matplotlib.pyplot as plt
import numpy as np

from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold
from spikelca.datasets import load_images
from spikelca.plotting import draw_membrane

X = load_images("digits").X_train.astype(float)
X /= np.linalg.norm(X, axis=1, keepdims=True)
fields = (RateNeuron(), SoftThreshold(0.1), [Dictionary("image", X[:40])])
image = {"image": X[[100]]}

runs = {
    wiring: Circuit(*fields, wiring=wiring).simulate(image, 0.15, 2e-4, record=("u",))
    for wiring in ("lateral", "residual")
}
difference = np.abs(runs["lateral"].traces["u"] - runs["residual"].traces["u"]).max()
print(f"largest difference of membrane potentials: {difference:.1e}")

# %%
# The two plots are visually identical.

figure, axes = plt.subplots(1, 2, figsize=(12, 3.6), layout="constrained")
for ax, (wiring, run) in zip(axes, runs.items(), strict=True):
    draw_membrane(run.times, run.traces["u"][:, 0], ax, threshold=0.1, n_coloured=5, title=wiring)
plt.show()
