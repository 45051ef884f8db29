"""One array in the shapes that engines want, each of them made once.

What a circuit is does not depend on how it is run; but what an engine makes of its arrays alone is
kept beside them, so that a run of one sample does not pay for it again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spikelca.validation import FloatArray

Layout = Callable[[FloatArray], FloatArray]
"""A free function that lays an array out anew."""


class Layouts:
    """An array that does not change, and what was made of it.

    Parameters
    ----------
    array : array

    Examples
    --------
    >>> import numpy as np
    >>> atoms = Layouts(np.array([[1.0, 2.0]]))
    >>> atoms.by(transposed)
    array([[1.],
           [2.]])
    >>> atoms.by(transposed) is atoms.by(transposed)
    True
    """

    def __init__(self, array: FloatArray) -> None:
        self._array = array
        self._made: dict[Layout, FloatArray] = {}

    def by(self, layout: Layout) -> FloatArray:
        """The array in a layout, read-only.

        Without a lock, which a fork could leave closed: two threads may both make it, and then both
        go on with one of the two.
        """
        if layout not in self._made:
            made = layout(self._array)
            made.setflags(write=False)
            self._made.setdefault(layout, made)
        return self._made[layout]

    def __reduce__(self) -> tuple[Any, ...]:
        """The array alone: what was made of it is made again where it is needed."""
        return Layouts, (self._array,)


def transposed(atoms: FloatArray) -> FloatArray:
    """Phi, one column a neuron, contiguous: (n_inputs, n_neurons)."""
    return np.ascontiguousarray(atoms.T)
