"""The look of the gallery: the colours of `spikelca.plotting`, and no frame around curves."""

from spikelca.plotting import CLASS_COLOURS


def house_style(gallery_conf, fname):
    """Set before every script; sphinx-gallery takes matplotlib back to its defaults in between."""
    import matplotlib

    matplotlib.rcParams |= {
        "axes.prop_cycle": matplotlib.cycler(color=CLASS_COLOURS),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": "medium",
    }
