"""
Sparsity and reconstruction error for several thresholds
========================================================

The threshold λ is the only parameter of Eq. 1. A low threshold gives a small error with many active
neurons, a high threshold a sparse code with a larger error.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import normalize

from spikelca import LCACoder
from spikelca.datasets import load_images
from spikelca.metrics import squared_error
from spikelca.plotting import draw_recall

digits = load_images("digits")
X, atoms = normalize(digits.X_test), normalize(digits.X_train[:150])
thresholds = (0.02, 0.05, 0.1, 0.2, 0.4)
codes = [LCACoder(atoms, threshold=lam).transform(X) for lam in thresholds]
active = [np.count_nonzero(a, axis=1).mean() for a in codes]
error = [squared_error(X, atoms, a).mean() for a in codes]

# %%
# Left: error and active neurons; right: one row of reconstructions for each threshold.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
axes[0].plot(active, error, "o-")
for lam, point in zip(thresholds, zip(active, error, strict=True), strict=True):
    axes[0].annotate(f"{lam:g}", point, xytext=(6, 4), textcoords="offset points")
axes[0].margins(0.15)
axes[0].set(xlabel="active neurons (mean)", ylabel="squared error (mean)", ylim=(0, None))
axes[0].set_title("one point per threshold λ")
rows = [X[:8], *(a[:8] @ atoms for a in codes)]
draw_recall(rows, ["image", *(f"λ = {lam:g}" for lam in thresholds)], ax=axes[1])
plt.show()
