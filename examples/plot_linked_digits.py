"""
Cross-modal reconstruction with linked dictionaries
===================================================

In training, a handwritten digit and the printed digit of its label have one common code. Afterwards
the code is inferred from the handwritten image alone and reconstructs the printed digit.
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
# At inference only the handwritten columns are observed; `translate` reconstructs the others.

expected = glyphs_for(digits.y_test[:10], printed)
recalled = np.maximum(lca.translate(X_test[:10], to="printed"), 0)
RecallDisplay(
    [X_test[:10], recalled, expected], ["handwritten", "recalled print", "expected print"]
).plot()
plt.show()
