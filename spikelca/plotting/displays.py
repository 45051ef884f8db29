"""Displays of fitted estimators, in the form of scikit-learn.

A display contains the arrays of one figure. ``from_estimator`` computes and draws them; ``plot``
draws them again on other axes. Drawing sets ``ax_`` and ``figure_``.
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
    """Base class of displays."""

    ax_: Axes
    figure_: Any

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw the figure.

        Parameters
        ----------
        ax : Axes, optional
            Axes to draw on (default: new figure).
        **kwargs
            Passed to the ``draw_`` function of this display.

        Returns
        -------
        self
            The display, with ``ax_`` and ``figure_``.
        """
        ax = self._draw(ax, kwargs)
        object.__setattr__(self, "ax_", ax)
        object.__setattr__(self, "figure_", ax.figure)
        return self

    @abstractmethod
    def _draw(self, ax: Axes | None, kwargs: dict[str, Any]) -> Axes:
        """Call the ``draw_`` function with the arrays of this display."""


def neuron_classes_of(estimator: Any) -> NDArray[np.int64] | None:
    """Return the class of each neuron of a fitted estimator, None without ordinal driver."""
    driver = getattr(estimator, "driver", None)
    if not isinstance(driver, OrdinalDriver):
        return None
    return driver.neuron_classes(estimator.circuit_.n_neurons)


@dataclass(frozen=True, eq=False)
class DictionaryDisplay(_Display):
    """Display of the atoms of one modality.

    Parameters
    ----------
    atoms : (n_neurons, n_inputs)
        Atoms.
    image_shape : (height, width), optional
        Shape of one atom in pixels (default: a square if possible).
    neuron_classes : (n_neurons,) int, optional
        Class of each neuron.
    modality : str, default=""
        Name of the modality, for the title.

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
        **kwargs: Any,
    ) -> DictionaryDisplay:
        """Draw a dictionary of a fitted `LinkedLCA`.

        Parameters
        ----------
        estimator : LinkedLCA
            Fitted estimator.
        modality : str, optional
            Name of the modality (default: the first).
        image_shape : (height, width), optional
            Shape of one atom in pixels (default: a square if possible).
        ax : Axes, optional
            Axes to draw on (default: new figure).
        **kwargs
            Passed to `draw_dictionary`.

        Returns
        -------
        DictionaryDisplay
        """
        name = next(iter(estimator.circuit_.widths)) if modality is None else modality
        atoms = estimator.circuit_.dictionary(name).atoms
        return cls(atoms, image_shape, neuron_classes_of(estimator), name).plot(ax, **kwargs)

    def _draw(self, ax: Axes | None, kwargs: dict[str, Any]) -> Axes:
        kwargs = {"title": self.modality, "neuron_classes": self.neuron_classes} | kwargs
        if self.neuron_classes is not None:
            kwargs.setdefault("n_columns", max(int((self.neuron_classes == 0).sum()), 1))
        return draw_dictionary(self.atoms, self.image_shape, ax, **kwargs)


@dataclass(frozen=True, eq=False)
class BlocksDisplay(_Display):
    """Display of the activity of blocks in an ordinal code, for each class.

    Parameters
    ----------
    shares : (n_classes, n_classes)
        Share of the activity, one row per class of the sample, one column per block.
    classes : sequence, default=()
        Names of the classes.

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
        cls, estimator: Any, X: ArrayLike, y: ArrayLike, *, ax: Axes | None = None, **kwargs: Any
    ) -> BlocksDisplay:
        """Encode samples and draw the distribution of their activity over the blocks.

        Parameters
        ----------
        estimator : LinkedLCA
            Estimator fitted with an `OrdinalDriver`.
        X : (n_samples, n_features)
            Samples as for ``transform``.
        y : (n_samples,)
            Labels.
        ax : Axes, optional
            Axes to draw on (default: new figure).
        **kwargs
            Passed to `draw_blocks`.

        Returns
        -------
        BlocksDisplay

        Raises
        ------
        ValueError
            If the estimator has no ordinal driver and therefore no blocks.
        """
        neuron_classes = neuron_classes_of(estimator)
        if neuron_classes is None:
            raise ValueError(
                "`estimator` must have an ordinal driver, which defines the blocks, got "
                f"{type(estimator).__name__} with no ordinal driver. Fit it with "
                "driver=OrdinalDriver(n_classes=...)."
            )
        numbers = np.searchsorted(estimator.classes_, np.asarray(y))
        codes = estimator.transform(X)
        shares = block_selectivity(codes, numbers, neuron_classes, len(estimator.classes_))
        return cls(shares, list(estimator.classes_)).plot(ax, **kwargs)

    def _draw(self, ax: Axes | None, kwargs: dict[str, Any]) -> Axes:
        return draw_blocks(self.shares, ax, **{"classes": self.classes or None} | kwargs)


@dataclass(frozen=True, eq=False)
class RecallDisplay(_Display):
    """Display of observed images, reconstructed ones and, if given, expected ones.

    Parameters
    ----------
    rows : sequence of (n_images, n_pixels)
        Images of each row.
    names : sequence of str
        Label of each row.
    image_shape : (height, width), optional
        Shape of one image in pixels (default: a square if possible).

    Examples
    --------
    >>> import numpy as np
    >>> display = RecallDisplay([np.eye(4), np.eye(4)], ["observed", "recalled"]).plot()
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
        **kwargs: Any,
    ) -> RecallDisplay:
        """Reconstruct one modality from the observed one and draw both.

        Parameters
        ----------
        estimator : LinkedLCA
            Estimator fitted on modalities whose images have one shape.
        X : (n_samples, n_observed)
            A few samples of the observed modality; each is one column of images.
        to : str
            Name of the modality to reconstruct.
        expected : (n_samples, n_inputs), optional
            Expected images.
        image_shape : (height, width), optional
            Shape of one image in pixels (default: a square if possible).
        ax : Axes, optional
            Axes to draw on (default: new figure).
        **kwargs
            Passed to `draw_recall`.

        Returns
        -------
        RecallDisplay
        """
        rows = [np.asarray(X), estimator.translate(X, to=to)]
        names = ["observed", f"recalled {to}"]
        if expected is not None:
            rows, names = [*rows, np.asarray(expected)], [*names, f"expected {to}"]
        return cls(rows, names, image_shape).plot(ax, **kwargs)

    def _draw(self, ax: Axes | None, kwargs: dict[str, Any]) -> Axes:
        return draw_recall(self.rows, self.names, self.image_shape, ax, **kwargs)
