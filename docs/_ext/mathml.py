"""Equations as MathML, which browsers draw themselves: the site needs no script and no network."""

from docutils import nodes
from latex2mathml.converter import convert


def inline(writer, node):
    """An equation in a line of text."""
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def display(writer, node):
    """An equation on lines of its own."""
    writer.body.append(writer.starttag(node, "div", CLASS="equation"))
    writer.body.append(convert(node.astext(), display="block") + "</div>\n")
    raise nodes.SkipNode


def setup(app):
    """Offer the renderer that ``html_math_renderer`` in conf.py chooses."""
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
