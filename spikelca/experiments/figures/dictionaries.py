"""Figures 1 and 4: dictionaries, neuron by neuron."""

from __future__ import annotations

from spikelca.experiments.figures.base import FigureInputs, FigureOutput, new_figure
from spikelca.experiments.settings import HANDWRITTEN, PRINTED
from spikelca.plotting import draw_dictionary


def linked_figure(evidence: FigureInputs) -> FigureOutput:
    """Figure 1: both dictionaries of the linked circuit."""
    circuit = evidence.models["linked"].circuit_
    figure = new_figure(9.0, 5.0)
    axes = figure.subplots(1, 2, gridspec_kw={"wspace": 0.06})
    arrays = {name: circuit.dictionary(name).atoms for name in (HANDWRITTEN, PRINTED)}
    letters = ("(a) dictionary 1: handwritten digits", "(b) dictionary 2: printed digits")
    for ax, atoms, title in zip(axes, arrays.values(), letters, strict=True):
        draw_dictionary(atoms, evidence.material.images.image_shape, ax, title=title)
    caption = (
        f"Linked dictionaries of {circuit.n_neurons} neurons. The same place on the left and on "
        "the right is the same neuron, each atom on a scale of its own (red above zero, blue "
        f"below). Both were learned together from images and print. {evidence.source}"
    )
    return FigureOutput("linked dictionaries", caption, figure, arrays)


def ordinal_figure(evidence: FigureInputs) -> FigureOutput:
    """Figure 4: both dictionaries of the ordinal circuit, one row of atoms for each block."""
    circuit = evidence.models["ordinal"].circuit_
    neuron_classes = evidence.neuron_classes
    n_columns = int((neuron_classes == 0).sum())
    atoms = {name: circuit.dictionary(name).atoms for name in (HANDWRITTEN, PRINTED)}
    wide = n_columns > 12
    figure = new_figure(9.0, 9.2 if wide else 5.0)
    axes = figure.subplots(2 if wide else 1, 1 if wide else 2, squeeze=False)
    for letter, ax, name in zip("ab", axes.flat, atoms, strict=True):
        draw_dictionary(
            atoms[name],
            evidence.material.images.image_shape,
            ax,
            n_columns=n_columns,
            neuron_classes=neuron_classes,
            title=f"({letter}) {name} digits",
        )
    caption = (
        "Ordinal dictionary. While it was learned, a driver current held back the neurons of all "
        f"other blocks: row c is the block of digit c, {n_columns} neurons each"
        + (", and the last row is free. " if (neuron_classes < 0).any() else ". ")
        + evidence.source
    )
    return FigureOutput(
        "ordinal dictionary", caption, figure, {**atoms, "neuron_classes": neuron_classes}
    )
