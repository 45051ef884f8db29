"""
Linked dictionaries recall what was not seen
============================================

While the dictionaries are learned, a handwritten digit and the printed digit of its label share one
code. Afterwards the handwritten image alone makes the code, and the code recalls the print.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import normalize

from spikelca import LinkedLCA
from spikelca.datasets import glyphs_for, load_images, printed_digits
from spikelca.plotting import RecallDisplay

digits = load_images("digits")
printed = printed_digits(digits.image_shape)
X, X_test = normalize(digits.X_train), normalize(digits.X_test)
glyphs = normalize(glyphs_for(digits.y_train, printed))

lca = LinkedLCA(
    100, {"written": 64, "printed": 64}, observe="written", threshold=0.05, n_epochs=10,
    batch_size=100, random_state=0,
).fit(np.hstack([X, glyphs]))  # fmt: skip

# %%
# At use only the handwritten columns are there; `translate` recalls the others.

expected = glyphs_for(digits.y_test[:10], printed)
recalled = np.maximum(lca.translate(X_test[:10], to="printed"), 0)
RecallDisplay(
    [X_test[:10], recalled, expected], ["handwritten, seen", "print, recalled", "print, expected"]
).plot()
plt.show()
