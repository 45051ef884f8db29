"""Equations as MathML, which browsers render without scripts or network access."""

from docutils import nodes
from latex2mathml.converter import convert


def inline(writer, node):
    """Write an inline equation."""
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def display(writer, node):
    """Write a display equation."""
    writer.body.append(writer.starttag(node, "div", CLASS="equation"))
    writer.body.append(convert(node.astext(), display="block") + "</div>\n")
    raise nodes.SkipNode


def setup(app):
    """Register the renderer that ``html_math_renderer`` in conf.py selects."""
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
