"""
A world with a known answer
===========================

Linked bars are made from a dictionary and a code that are known, so that learning can be measured
and not only admired: each learned atom is matched with the true one it is most like.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import linear_sum_assignment

from spikelca import LinkedLCA
from spikelca.datasets import linked_bars
from spikelca.plotting import draw_dictionary

world = linked_bars(n_samples=4000, size=6, random_state=0)
X = np.hstack([world.X["bars"], world.X["marks"]])
widths = {name: part.shape[1] for name, part in world.X.items()}
n_atoms = len(world.atoms["bars"])
lca = LinkedLCA(n_atoms, widths, threshold=0.05, n_epochs=20, batch_size=100, random_state=0)
lca.fit(X)

true = np.hstack([world.atoms["bars"], world.atoms["marks"]])
likeness = lca.components_ @ true.T
order = linear_sum_assignment(-likeness)[0][np.argsort(linear_sum_assignment(-likeness)[1])]
found = likeness[order, np.arange(n_atoms)]
print(f"cosine of learned and true atoms: mean {found.mean():.3f}, least {found.min():.3f}")

# %%
# True bars, learned bars in the same order.

figure, axes = plt.subplots(1, 2, figsize=(10, 2.4), layout="constrained")
draw_dictionary(world.atoms["bars"], ax=axes[0], n_columns=6, title="true")
learned = lca.circuit_.dictionary("bars").atoms[order]
draw_dictionary(learned, ax=axes[1], n_columns=6, title=f"learned, mean cosine {found.mean():.3f}")
plt.show()
