"""
Rozell et al. 2008: sparse coding of image patches with soft and hard thresholds
================================================================================

Signed codes of natural image patches on an overcomplete cosine basis, after the paper that
introduced the LCA. The hard threshold needs fewer active neurons for the same error; the energy of
the soft threshold is convex.

C. Rozell, D. Johnson, R. Baraniuk and B. Olshausen, *Sparse coding via thresholding and local
competition in neural circuits*, Neural Computation 20(10), 2008.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image
from sklearn.feature_extraction.image import extract_patches_2d
from sklearn.preprocessing import normalize

from spikelca import LCACoder
from spikelca.plotting import draw_dictionary

grey = load_sample_image("china.jpg").mean(axis=2) / 255
patches = extract_patches_2d(grey, (8, 8), max_patches=300, random_state=0).reshape(300, 64)
X = normalize(patches - patches.mean(axis=1, keepdims=True))

k, n = np.arange(11)[:, None] * 8 / 11, np.arange(8) + 0.5
waves = normalize(np.cos(np.pi * k * n / 8))
atoms = np.einsum("ai,bj->abij", waves, waves).reshape(121, 64)[1:]

# %%
# Error and number of active neurons for several thresholds.

figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
draw_dictionary(atoms, ax=axes[0], n_columns=12, title="overcomplete cosine basis")
for transfer, style in (("soft", "o-"), ("hard", "s--")):
    active, error = [], []
    for lam in (0.02, 0.05, 0.1, 0.2, 0.3):
        coder = LCACoder(atoms, threshold=lam, transfer=transfer, two_sided=True, tol=1e-3)
        code = coder.transform(X)
        active.append(np.count_nonzero(code, axis=1).mean())
        error.append(np.mean(np.sum((X - code @ atoms) ** 2, axis=1)))
    axes[1].semilogy(active, error, style, label=f"{transfer} threshold")
axes[1].set(xlabel="active neurons (mean)", ylabel="relative squared error")
axes[1].legend(frameon=False)
plt.show()
