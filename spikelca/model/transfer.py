"""Transfer functions: from membrane potential to output, with the cost of the output.

The circuit minimises ``E(a) = 1/2 |x - Phi a|^2 + C(a)``. The transfer function determines the cost
C (Rozell et al. 2008, Neural Computation 20(10)): for an output ``a = T(u)``, the cost satisfies
``dC/da = u - a``.

==================  ====================================  ==========================
transfer            T(u), for u >= 0                      C(a)
==================  ====================================  ==========================
SoftThreshold       max(u - lam, 0)                       lam |a|_1        (convex)
HardThreshold       u if u > lam else 0                   lam^2/2 |a|_0    (not convex)
==================  ====================================  ==========================

Each is one-sided (outputs >= 0, as firing rates) or two-sided (signed codes).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikelca.utils.validation import FloatArray, as_float, check_bool, check_positive


@dataclass(frozen=True)
class Transfer(ABC):
    """Base class of transfer functions: a threshold lam, one-sided or two-sided.

    Parameters
    ----------
    threshold : float
        lam, in the unit of the membrane potential u.
    two_sided : bool, default=False
        Whether a potential below -lam gives a negative output.

    Raises
    ------
    ValueError
        If the threshold is not a finite number > 0.

    Examples
    --------
    >>> issubclass(SoftThreshold, Transfer) and issubclass(HardThreshold, Transfer)
    True
    """

    threshold: float
    two_sided: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", check_positive(self.threshold, "threshold"))
        object.__setattr__(self, "two_sided", check_bool(self.two_sided, "two_sided"))

    def __call__(self, u: FloatArray) -> FloatArray:
        """Compute the output a = T(u) in the precision of u (float32 or float64)."""
        u = as_float(u, "u")
        if self.two_sided:
            return np.asarray(np.sign(u) * self.one_sided(np.abs(u)), dtype=u.dtype)
        return np.asarray(self.one_sided(u), dtype=u.dtype)

    @abstractmethod
    def one_sided(self, u: FloatArray) -> FloatArray:
        """Compute T for outputs >= 0.

        Parameters
        ----------
        u : (n_samples, n_neurons)
            Membrane potentials, float32 or float64.

        Returns
        -------
        (n_samples, n_neurons), of the dtype of u
        """

    @abstractmethod
    def cost(self, a: FloatArray) -> FloatArray:
        """Compute C(a), summed over the neurons.

        Parameters
        ----------
        a : (n_samples, n_neurons)
            Outputs.

        Returns
        -------
        (n_samples,) float64
        """

    @abstractmethod
    def inverse(self, a: FloatArray) -> FloatArray:
        """Compute a membrane potential u with T(u) = a; zero where a is zero.

        Parameters
        ----------
        a : (n_samples, n_neurons)
            Outputs.

        Returns
        -------
        (n_samples, n_neurons)
        """


@dataclass(frozen=True)
class SoftThreshold(Transfer):
    """T(u) = max(u - lam, 0); the steady-state code solves the (non-negative) LASSO.

    The energy (the paper's first equation) is convex, so every code has a duality gap.

    Parameters
    ----------
    threshold : float
        lam, in the unit of the membrane potential u.
    two_sided : bool, default=False
        Whether a potential below -lam gives a negative output.

    Raises
    ------
    ValueError
        If the threshold is not a finite number > 0.

    Examples
    --------
    >>> import numpy as np
    >>> SoftThreshold(0.5)(np.array([-2.0, 0.4, 2.0]))
    array([0. , 0. , 1.5])
    >>> SoftThreshold(0.5, two_sided=True)(np.array([-2.0, 0.4, 2.0]))
    array([-1.5,  0. ,  1.5])
    """

    def one_sided(self, u: FloatArray) -> FloatArray:
        return np.maximum(u - u.dtype.type(self.threshold), u.dtype.type(0))

    def cost(self, a: FloatArray) -> FloatArray:
        total: Any = self.threshold * np.abs(a).sum(axis=-1, dtype=np.float64)
        return np.asarray(total)

    def inverse(self, a: FloatArray) -> FloatArray:
        a = as_float(a, "a")
        return np.asarray(a + np.sign(a) * a.dtype.type(self.threshold))


@dataclass(frozen=True)
class HardThreshold(Transfer):
    """T(u) = u where u > lam, else 0 (the paper's second equation).

    The cost is proportional to the number of active neurons. It is not convex: the steady-state
    code depends on the step and on the start, and has a fixed-point residual but no duality gap.

    Parameters
    ----------
    threshold : float
        lam, in the unit of the membrane potential u.
    two_sided : bool, default=False
        Whether a potential below -lam gives a negative output.

    Raises
    ------
    ValueError
        If the threshold is not a finite number > 0.

    Examples
    --------
    >>> import numpy as np
    >>> HardThreshold(0.5)(np.array([-2.0, 0.4, 2.0]))
    array([0., 0., 2.])
    """

    def one_sided(self, u: FloatArray) -> FloatArray:
        return np.where(u > u.dtype.type(self.threshold), u, u.dtype.type(0))

    def cost(self, a: FloatArray) -> FloatArray:
        return np.asarray(0.5 * self.threshold**2 * np.count_nonzero(a, axis=-1), dtype=np.float64)

    def inverse(self, a: FloatArray) -> FloatArray:
        return np.array(as_float(a, "a"))
