"""
An ordinal code by driver currents
==================================

In training, a driver current inhibits all neurons outside the block of the class. The driver is off
when images are encoded; the order remains.
"""

import matplotlib.pyplot as plt
from sklearn.preprocessing import normalize

from spikelca import LinkedLCA, OrdinalDriver
from spikelca.datasets import load_images
from spikelca.plotting import BlocksDisplay, DictionaryDisplay

digits = load_images("digits")
X, X_test = normalize(digits.X_train), normalize(digits.X_test)

driver = OrdinalDriver(n_classes=10, excitation=0.0, inhibition=0.05)
lca = LinkedLCA(
    100, threshold=0.05, driver=driver, n_epochs=10, batch_size=100, random_state=0
).fit(X, digits.y_train)

# %%
# Row c of the dictionary is the block of digit c. Right: the activity for test images in each
# block, encoded without their labels.

figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
DictionaryDisplay.from_estimator(lca, ax=axes[0], title="blocks of the dictionary")
BlocksDisplay.from_estimator(lca, X_test, digits.y_test, ax=axes[1], title="test images")
plt.show()
