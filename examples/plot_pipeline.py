"""
LinkedLCA in a Pipeline with GridSearchCV
=========================================

`LinkedLCA` is a scikit-learn transformer. The threshold is chosen by cross-validation, together
with the classifier, without access to test images.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from spikelca import LinkedLCA
from spikelca.datasets import load_images

digits = load_images("digits")
pipeline = make_pipeline(
    Normalizer(),
    LinkedLCA(60, n_epochs=3, batch_size=100, random_state=0),
    LogisticRegression(C=30.0, max_iter=500),
)
grid = {"linkedlca__threshold": [0.02, 0.05, 0.1, 0.2, 0.4]}
search = GridSearchCV(pipeline, grid, cv=3).fit(digits.X_train, digits.y_train)
score = search.score(digits.X_test, digits.y_test)
print(f"chosen: {search.best_params_}; test accuracy {score:.3f}")

# %%
# Cross-validated accuracy; error bars are the standard deviation over the folds.

table = search.cv_results_
figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
ax.errorbar(
    np.array(grid["linkedlca__threshold"]), table["mean_test_score"], table["std_test_score"],
    marker="o", capsize=3,
)  # fmt: skip
ax.set(xlabel="threshold λ", ylabel="cross-validated accuracy", xscale="log")
ax.set_xticks(grid["linkedlca__threshold"], grid["linkedlca__threshold"])
ax.minorticks_off()
ax.set_title(f"test accuracy with the chosen threshold: {score:.3f}")
plt.show()
