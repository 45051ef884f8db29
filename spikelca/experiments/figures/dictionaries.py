"""Figures 1 and 4: atoms of the linked and the ordinal dictionaries."""

from __future__ import annotations

from spikelca.experiments.figures.base import FigureInputs, FigureOutput, new_figure
from spikelca.experiments.settings import HANDWRITTEN, PRINTED
from spikelca.plotting import draw_dictionary


def linked_figure(inputs: FigureInputs) -> FigureOutput:
    """Draw figure 1: both dictionaries of the linked circuit."""
    circuit = inputs.models["linked"].circuit_
    figure = new_figure(9.0, 5.0)
    axes = figure.subplots(1, 2, gridspec_kw={"wspace": 0.06})
    arrays = {name: circuit.dictionary(name).atoms for name in (HANDWRITTEN, PRINTED)}
    titles = ("(a) dictionary 1: handwritten digits", "(b) dictionary 2: printed digits")
    for ax, atoms, title in zip(axes, arrays.values(), titles, strict=True):
        draw_dictionary(atoms, inputs.data.images.image_shape, ax, title=title)
    caption = (
        f"Linked dictionaries of {circuit.n_neurons} neurons, learned together from handwritten "
        "and printed digits. Atoms at the same position on the left and on the right belong to "
        "the same neuron; each atom has a separate colour scale (red above zero, blue below). "
        f"{inputs.source}"
    )
    return FigureOutput("linked dictionaries", caption, figure, arrays)


def ordinal_figure(inputs: FigureInputs) -> FigureOutput:
    """Draw figure 4: both dictionaries of the ordinal circuit, one row of atoms per block."""
    circuit = inputs.models["ordinal"].circuit_
    neuron_classes = inputs.neuron_classes
    n_columns = int((neuron_classes == 0).sum())
    atoms = {name: circuit.dictionary(name).atoms for name in (HANDWRITTEN, PRINTED)}
    is_wide = n_columns > 12
    figure = new_figure(9.0, 9.2 if is_wide else 5.0)
    axes = figure.subplots(2 if is_wide else 1, 1 if is_wide else 2, squeeze=False)
    for letter, ax, name in zip("ab", axes.flat, atoms, strict=True):
        draw_dictionary(
            atoms[name],
            inputs.data.images.image_shape,
            ax,
            n_columns=n_columns,
            neuron_classes=neuron_classes,
            title=f"({letter}) {name} digits",
        )
    caption = (
        "Ordinal dictionary. During training, a driver current inhibited the neurons of all other "
        f"blocks. Row c is the block of digit c with {n_columns} neurons"
        + ("; the last row belongs to no block. " if (neuron_classes < 0).any() else ". ")
        + inputs.source
    )
    return FigureOutput(
        "ordinal dictionary", caption, figure, {**atoms, "neuron_classes": neuron_classes}
    )
