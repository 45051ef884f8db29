"""
Learned atoms compared with the ground truth
============================================

Linked bars are generated from a known dictionary and known codes, so that the result of learning
can be measured: each learned atom is matched with the true atom of the highest cosine.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import linear_sum_assignment

from spikelca import LinkedLCA
from spikelca.datasets import linked_bars
from spikelca.plotting import draw_dictionary

data = linked_bars(n_samples=4000, size=6, random_state=0)
X = np.hstack([data.X["bars"], data.X["marks"]])
widths = {name: values.shape[1] for name, values in data.X.items()}
n_atoms = len(data.atoms["bars"])
lca = LinkedLCA(n_atoms, widths, threshold=0.05, n_epochs=20, batch_size=100, random_state=0)
lca.fit(X)

true = np.hstack([data.atoms["bars"], data.atoms["marks"]])
similarity = lca.components_ @ true.T
rows, columns = linear_sum_assignment(-similarity)
order = rows[np.argsort(columns)]
cosine = similarity[order, np.arange(n_atoms)]
print(f"cosine of learned and true atoms: mean {cosine.mean():.3f}, minimum {cosine.min():.3f}")

# %%
# True atoms, and learned atoms in the same order.

figure, axes = plt.subplots(1, 2, figsize=(10, 2.4), layout="constrained")
draw_dictionary(data.atoms["bars"], ax=axes[0], n_columns=6, title="true")
learned = lca.circuit_.dictionary("bars").atoms[order]
draw_dictionary(learned, ax=axes[1], n_columns=6, title=f"learned, mean cosine {cosine.mean():.3f}")
plt.show()
