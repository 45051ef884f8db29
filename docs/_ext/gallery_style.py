"""Style of the gallery: the colours of `spikelca.plotting`, no top and right spines."""

from spikelca.plotting import CLASS_COLOURS


def apply_style(gallery_conf, fname):
    """Set the style before every script, because sphinx-gallery resets matplotlib in between."""
    import matplotlib

    matplotlib.rcParams |= {
        "axes.prop_cycle": matplotlib.cycler(color=CLASS_COLOURS),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": "medium",
    }
