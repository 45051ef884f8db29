"""Pictures of fitted estimators, in scikit-learn's manner.

A display holds the arrays of one picture. ``from_estimator`` computes and draws them; ``plot``
draws them again, elsewhere. After drawing, ``ax_`` and ``figure_`` are there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from spikelca.metrics import block_selectivity
from spikelca.model.drivers import OrdinalDriver
from spikelca.plotting.codes import draw_blocks
from spikelca.plotting.images import draw_dictionary, draw_recall


class _Display(ABC):
    """What all displays share: they are drawn, and remember where."""

    ax_: Axes
    figure_: Any

    def plot(self, ax: Axes | None = None, **more: Any) -> Self:
        """Draw on these axes, or on new ones.

        Parameters
        ----------
        ax : Axes, optional
        **more
            For the ``draw_`` function behind this display.

        Returns
        -------
        The display itself, with ``ax_`` and ``figure_``.
        """
        drawn = self._draw(ax, more)
        object.__setattr__(self, "ax_", drawn)
        object.__setattr__(self, "figure_", drawn.figure)
        return self

    @abstractmethod
    def _draw(self, ax: Axes | None, more: dict[str, Any]) -> Axes:
        """Call the ``draw_`` function with the arrays of this display."""


def neuron_classes_of(estimator: Any) -> NDArray[np.int64] | None:
    """Class of each neuron of a fitted estimator, None if no ordinal driver ordered them."""
    driver = getattr(estimator, "driver", None)
    if not isinstance(driver, OrdinalDriver):
        return None
    return driver.neuron_classes(estimator.circuit_.n_neurons)


@dataclass(frozen=True, eq=False)
class DictionaryDisplay(_Display):
    """The atoms of one modality.

    Parameters
    ----------
    atoms : (n_neurons, n_inputs)
    image_shape : (height, width), optional
    neuron_classes : (n_neurons,) int, optional
        Class of each neuron.
    modality : str, default=""

    Examples
    --------
    >>> import numpy as np
    >>> DictionaryDisplay(np.eye(4), modality="x").plot().ax_.get_title()
    'x'
    """

    atoms: NDArray[Any]
    image_shape: tuple[int, int] | None = None
    neuron_classes: NDArray[np.int64] | None = None
    modality: str = ""

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        modality: str | None = None,
        *,
        image_shape: tuple[int, int] | None = None,
        ax: Axes | None = None,
        **more: Any,
    ) -> DictionaryDisplay:
        """Draw a dictionary of a fitted `LinkedLCA`.

        Parameters
        ----------
        estimator : LinkedLCA
            Fitted.
        modality : str, optional
            The first one unless told.
        image_shape : (height, width), optional
        ax : Axes, optional
        **more
            For `draw_dictionary`.

        Returns
        -------
        DictionaryDisplay
        """
        name = next(iter(estimator.circuit_.widths)) if modality is None else modality
        atoms = estimator.circuit_.dictionary(name).atoms
        return cls(atoms, image_shape, neuron_classes_of(estimator), name).plot(ax, **more)

    def _draw(self, ax: Axes | None, more: dict[str, Any]) -> Axes:
        more = {"title": self.modality, "neuron_classes": self.neuron_classes} | more
        if self.neuron_classes is not None:
            more.setdefault("n_columns", max(int((self.neuron_classes == 0).sum()), 1))
        return draw_dictionary(self.atoms, self.image_shape, ax, **more)


@dataclass(frozen=True, eq=False)
class BlocksDisplay(_Display):
    """Where the activity of each class falls in an ordinal code.

    Parameters
    ----------
    shares : (n_classes, n_classes)
        Row: class of the sample; column: block.
    classes : sequence, default=()

    Examples
    --------
    >>> import numpy as np
    >>> BlocksDisplay(np.eye(2), ["a", "b"]).plot().ax_.get_xlabel()
    'block'
    """

    shares: NDArray[np.float64]
    classes: Sequence[Any] = field(default_factory=tuple)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: ArrayLike, y: ArrayLike, *, ax: Axes | None = None, **more: Any
    ) -> BlocksDisplay:
        """Encode samples and draw how their activity falls into the blocks.

        Parameters
        ----------
        estimator : LinkedLCA
            Fitted with an `OrdinalDriver`.
        X : (n_samples, n_features)
            As for ``transform``.
        y : (n_samples,)
            Labels.
        ax : Axes, optional
        **more
            For `draw_blocks`.

        Returns
        -------
        BlocksDisplay

        Raises
        ------
        ValueError
            If the estimator has no ordinal driver: its code has no blocks.
        """
        neuron_classes = neuron_classes_of(estimator)
        if neuron_classes is None:
            raise ValueError(
                f"{type(estimator).__name__} has no ordinal driver, and so no blocks; fit it with "
                "driver=OrdinalDriver(n_classes=...)."
            )
        numbers = np.searchsorted(estimator.classes_, np.asarray(y))
        codes = estimator.transform(X)
        shares = block_selectivity(codes, numbers, neuron_classes, len(estimator.classes_))
        return cls(shares, list(estimator.classes_)).plot(ax, **more)

    def _draw(self, ax: Axes | None, more: dict[str, Any]) -> Axes:
        return draw_blocks(self.shares, ax, **{"classes": self.classes or None} | more)


@dataclass(frozen=True, eq=False)
class RecallDisplay(_Display):
    """What was seen, what was recalled from it and, where it is known, what was expected.

    Parameters
    ----------
    rows : sequence of (n_images, n_pixels)
    names : sequence of str
    image_shape : (height, width), optional

    Examples
    --------
    >>> import numpy as np
    >>> display = RecallDisplay([np.eye(4), np.eye(4)], ["seen", "recalled"]).plot()
    >>> display.figure_ is display.ax_.figure
    True
    """

    rows: Sequence[NDArray[Any]]
    names: Sequence[str]
    image_shape: tuple[int, int] | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        to: str,
        *,
        expected: ArrayLike | None = None,
        image_shape: tuple[int, int] | None = None,
        ax: Axes | None = None,
        **more: Any,
    ) -> RecallDisplay:
        """Recall one modality from the observed one and draw both.

        Parameters
        ----------
        estimator : LinkedLCA
            Fitted on modalities whose images have one shape.
        X : (n_samples, n_observed)
            The observed modality; its first rows are few, for each is one column of images.
        to : str
            The modality to recall.
        expected : (n_samples, n_inputs), optional
        image_shape : (height, width), optional
        ax : Axes, optional
        **more
            For `draw_recall`.

        Returns
        -------
        RecallDisplay
        """
        rows, names = [np.asarray(X), estimator.translate(X, to=to)], ["seen", f"recalled {to}"]
        if expected is not None:
            rows, names = [*rows, np.asarray(expected)], [*names, f"expected {to}"]
        return cls(rows, names, image_shape).plot(ax, **more)

    def _draw(self, ax: Axes | None, more: dict[str, Any]) -> Axes:
        return draw_recall(self.rows, self.names, self.image_shape, ax, **more)
