"""
A first sparse code
===================

A handwritten digit is encoded by a few active neurons and reconstructed from the code. Learning the
dictionary takes a second or two.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import normalize

from spikelca import LinkedLCA
from spikelca.datasets import load_images
from spikelca.plotting import draw_code, draw_dictionary, draw_recall

digits = load_images("digits")
X, X_test = normalize(digits.X_train), normalize(digits.X_test)

lca = LinkedLCA(100, threshold=0.05, n_epochs=10, batch_size=100, random_state=0).fit(X)
code = lca.transform(X_test[:8])
print(f"{(code > 0).mean():.0%} of the neurons are active")

# %%
# Every neuron has one atom. The reconstruction is the sum of the atoms, weighted by the code.

figure, axes = plt.subplot_mosaic("db;dc", figsize=(10, 5), layout="constrained")
draw_dictionary(lca.components_, ax=axes["d"], title="the dictionary")
draw_code(code[0], axes["b"], title="the code of the first image")
reconstructed = np.maximum(lca.inverse_transform(code), 0)  # pixels are not negative
draw_recall([X_test[:8], reconstructed], ["image", "from its code"], ax=axes["c"])
plt.show()
