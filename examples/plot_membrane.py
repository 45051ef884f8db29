"""
Competition of membrane potentials over time
============================================

The rate circuit of Eq. 3: the drive charges every membrane potential, and neurons that cross the
threshold inhibit neurons with similar atoms. The energy decreases to that of the steady-state code.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import normalize

from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold
from spikelca.datasets import load_images
from spikelca.plotting import draw_energy, draw_membrane

digits = load_images("digits")
X = normalize(digits.X_train)
circuit = Circuit(RateNeuron(tau=10e-3), SoftThreshold(0.1), [Dictionary("image", X[:60])])
image = {"image": X[[100]]}

run = circuit.simulate(image, duration=0.25, record=("u", "a"))
steady = circuit.encode(image, tol=1e-8)
optimum = circuit.energy(image, steady.code)[0]
energies = [circuit.energy(image, a)[0] for a in run.traces["a"]]
print(f"fixed-point residual after {run.clock.n_steps} steps: {run.residual[0]:.1e}")

# %%
# Left: membrane potentials; right: the energy above the LASSO optimum.

figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
draw_membrane(run.times, run.traces["u"][:, 0], axes[0], threshold=0.1, n_coloured=6)
draw_energy(run.times * 1e3, np.array(energies), axes[1], optimum=optimum)
plt.show()
