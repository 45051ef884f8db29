"""
Soft and hard thresholds
========================

Eq. 2 as printed in the paper is a hard threshold: the cost is the number of active neurons, and
their outputs are not reduced. The soft threshold reduces the outputs; its energy is convex, and
every code has a duality gap.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import normalize

from spikelca import HardThreshold, LCACoder, SoftThreshold
from spikelca.datasets import load_images
from spikelca.plotting import draw_code

digits = load_images("digits")
X, atoms = normalize(digits.X_test[:1]), normalize(digits.X_train[:100])
u = np.linspace(-0.3, 0.5, 400)

figure, axes = plt.subplot_mosaic("ts;th", figsize=(10, 4.6), layout="constrained")
for transfer, style in ((SoftThreshold(0.1), "-"), (HardThreshold(0.1), "--")):
    axes["t"].plot(u, transfer(u), style, label=type(transfer).__name__)
axes["t"].set(xlabel="membrane potential u", ylabel="output a = T(u)")
axes["t"].legend(frameon=False)
for key, name in (("s", "soft"), ("h", "hard")):
    code = LCACoder(atoms, threshold=0.1, transfer=name).transform(X)[0]
    draw_code(code, axes[key], title=f"{name}: {np.count_nonzero(code)} active neurons")
plt.show()
