"""
A first code
============

One handwritten digit becomes the activity of a few neurons, and the activity becomes the digit
again. The dictionary is learned in a second or two.
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
# Every neuron owns one atom. What a code says is the sum of its active atoms.

figure, axes = plt.subplot_mosaic("db;dc", figsize=(10, 5), layout="constrained")
draw_dictionary(lca.components_, ax=axes["d"], title="the dictionary")
draw_code(code[0], axes["b"], title="the code of the first image")
recalled = np.maximum(lca.inverse_transform(code), 0)  # ink is never negative
draw_recall([X_test[:8], recalled], ["image", "from its code"], ax=axes["c"])
plt.show()
