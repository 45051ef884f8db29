"""
Observe a dictionary during training
====================================

`learn` is a generator: between two batches you can plot, save or stop. Here the atoms start from
noise. They first resemble digits, and later the parts that many digits have in common.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import normalize

from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold
from spikelca.datasets import load_images
from spikelca.learning import learn
from spikelca.plotting import draw_dictionary

rng = np.random.default_rng(0)
X = normalize(load_images("digits").X_train)
atoms = normalize(rng.random((36, 64)))
circuit = Circuit(RateNeuron(), SoftThreshold(0.05), [Dictionary("image", atoms)])
batches = [({"image": X[rng.integers(0, len(X), 100)]}, None) for _ in range(150)]

checkpoints, snapshots, errors = (0, 5, 20, 149), [], []
for n, (learned, progress) in enumerate(learn(circuit, batches, rng=rng)):
    errors.append(progress.error["image"])
    if n in checkpoints:
        snapshots.append(learned.dictionary("image").atoms)

# %%
# The dictionary after 1, 6, 21 and 150 batches, and the relative error of each batch.

figure, axes = plt.subplots(1, 5, figsize=(15, 3.2), layout="constrained")
for ax, n, phi in zip(axes, checkpoints, snapshots, strict=False):
    draw_dictionary(phi, ax=ax, title=f"batch {n + 1}")
axes[4].plot(np.arange(1, 151), errors)
axes[4].set(xlabel="batch", ylabel="relative squared error", ylim=(0, None))
plt.show()
