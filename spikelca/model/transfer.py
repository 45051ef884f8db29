"""Transfer functions: how a membrane potential becomes an output, and what that output costs.

The circuit minimises ``E(a) = 1/2 |x - Phi a|^2 + C(a)``. Which cost C it is, is decided by the
transfer function alone (Rozell et al. 2008, Neural Computation 20(10)): where the output is
``a = T(u)``, the cost obeys ``dC/da = u - a``.

==================  ====================================  ==========================
transfer            T(u), for u >= 0                      C(a)
==================  ====================================  ==========================
SoftThreshold       max(u - lam, 0)                       lam |a|_1        (convex)
HardThreshold       u if u > lam else 0                   lam^2/2 |a|_0    (not convex)
==================  ====================================  ==========================

Each is one-sided (an output is never negative: a firing rate) or two-sided (signed codes).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikelca.utils.validation import FloatArray, as_float, check_positive


@dataclass(frozen=True)
class Transfer(ABC):
    """A threshold lam, and whether outputs may be negative.

    Parameters
    ----------
    threshold : float
        lam, in the unit of the membrane potential u.
    two_sided : bool, default=False
        Whether a potential below -lam gives a negative output.

    Raises
    ------
    ValueError
        If the threshold is not a finite number above zero.

    Examples
    --------
    >>> issubclass(SoftThreshold, Transfer) and issubclass(HardThreshold, Transfer)
    True
    """

    threshold: float
    two_sided: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", check_positive(self.threshold, "threshold"))
        object.__setattr__(self, "two_sided", bool(self.two_sided))

    def __call__(self, u: FloatArray) -> FloatArray:
        """The output a = T(u), of the shape of u; float32 and float64 keep their precision."""
        u = as_float(u, "u")
        if self.two_sided:
            return np.asarray(np.sign(u) * self.one_sided(np.abs(u)), dtype=u.dtype)
        return np.asarray(self.one_sided(u), dtype=u.dtype)

    @abstractmethod
    def one_sided(self, u: FloatArray) -> FloatArray:
        """T for outputs that are never negative.

        Parameters
        ----------
        u : (n_samples, n_neurons)
            Membrane potentials, float32 or float64.

        Returns
        -------
        (n_samples, n_neurons), of the type of u
        """

    @abstractmethod
    def cost(self, a: FloatArray) -> FloatArray:
        """C(a), summed over the neurons.

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
        """A membrane potential u with T(u) = a; zero where a is zero.

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
    """T(u) = max(u - lam, 0), so that the code solves the (non-negative) LASSO.

    The energy (the paper's first equation) is convex, and its codes carry a duality gap.

    Parameters
    ----------
    threshold : float
        lam, in the unit of the membrane potential u.
    two_sided : bool, default=False
        Whether a potential below -lam gives a negative output.

    Raises
    ------
    ValueError
        If the threshold is not a finite number above zero.

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
    """T(u) = u where u > lam, else 0: the paper's second equation as it is printed.

    The cost counts the active neurons. It is not convex: the settled code depends on the step and
    on the start, and carries a fixed-point residual but no duality gap.

    Parameters
    ----------
    threshold : float
        lam, in the unit of the membrane potential u.
    two_sided : bool, default=False
        Whether a potential below -lam gives an output too.

    Raises
    ------
    ValueError
        If the threshold is not a finite number above zero.

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
