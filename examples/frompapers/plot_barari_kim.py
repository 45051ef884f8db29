"""
Barari & Kim: linking sparse coding dictionaries
================================================

The main results of the paper in one figure, on small digits: linking and ordering do not reduce the
accuracy of classification, and codes of the handwritten image alone cluster by class. `spikelca
reproduce` computes all results, with cross-validated parameters, also for MNIST.

*Linking Sparse Coding Dictionaries for Representation Learning*, N. Barari and E. Kim.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.preprocessing import normalize

from spikelca import LinkedLCA, OrdinalDriver
from spikelca.datasets import glyphs_for, load_images, printed_digits
from spikelca.plotting import draw_embedding

digits = load_images("digits")
X, X_test = normalize(digits.X_train), normalize(digits.X_test)
glyphs = normalize(glyphs_for(digits.y_train, printed_digits(digits.image_shape)))
stacked, widths = np.hstack([X, glyphs]), {"written": 64, "printed": 64}
params = {"threshold": 0.05, "n_epochs": 15, "batch_size": 100, "random_state": 0}
driver = OrdinalDriver(10, excitation=0.0, inhibition=0.05)
spaces = {"raw pixels": (digits.X_train, digits.X_test)}
for name, options in (("linked", {}), ("ordinal-linked", {"driver": driver})):
    lca = LinkedLCA(100, widths, "written", **params, **options).fit(stacked, digits.y_train)
    spaces[name] = lca.transform(X), lca.transform(X_test)

# %%
# t-SNE of the test images, and the accuracy of logistic regression on each code.

figure, axes = plt.subplots(1, 3, figsize=(12, 4.6), layout="constrained")
for ax, (name, (train, test)) in zip(axes, spaces.items(), strict=True):
    scale = 1 / np.sqrt(2 * train.var(axis=0).sum())
    classifier = LogisticRegression(C=100.0, max_iter=500).fit(train * scale, digits.y_train)
    note = f"logistic regression: {classifier.score(test * scale, digits.y_test):.3f}"
    plane = TSNE(init="pca", random_state=0, max_iter=500).fit_transform(test)
    draw_embedding(plane, digits.y_test, ax, title=name, note=note)
plt.show()
