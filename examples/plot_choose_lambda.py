"""
How the threshold trades sparsity for faithfulness
==================================================

lam is the only knob of Eq. 1. A low one explains every stroke with many neurons; a high one keeps
the few that matter.
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
# Left: the trade; right: one line of reconstructions for each threshold.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
axes[0].plot(active, error, "o-")
for lam, place in zip(thresholds, zip(active, error, strict=True), strict=True):
    axes[0].annotate(f"{lam:g}", place, xytext=(6, 4), textcoords="offset points")
axes[0].margins(0.15)
axes[0].set(xlabel="active neurons (mean)", ylabel="squared error (mean)", ylim=(0, None))
axes[0].set_title("each point a threshold λ")
rows = [X[:8], *(a[:8] @ atoms for a in codes)]
draw_recall(rows, ["image", *(f"λ = {lam:g}" for lam in thresholds)], ax=axes[1])
plt.show()
