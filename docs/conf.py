"""How the documentation is built: ``python -m sphinx -W -b html docs docs/_build/html``."""

import os
import sys
from pathlib import Path

os.environ["MPLBACKEND"] = "Agg"
sys.path.append(str(Path(__file__).parent / "_ext"))

from spikelca import __version__

project = "spikelca"
author = "The spikelca developers"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "mathml",
]
html_math_renderer = "mathml"
default_role = "py:obj"
exclude_patterns = ["_build", "gallery/**/*.ipynb", "gallery/**/*.py", "gallery/**/*.md5"]
templates_path = ["_templates"]

autosummary_generate = True
autodoc_typehints = "none"
autodoc_default_options = {
    # Made by scikit-learn, with references into its own documentation.
    "exclude-members": "set_fit_request, set_partial_fit_request, set_transform_request, "
    "set_score_request, set_inverse_transform_request",
}
numpydoc_show_class_members = False
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"plot_",
    "reset_modules": ("matplotlib", "look.house_style"),
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "min_reported_time": 1e9,
    "show_memory": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "spikelca"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
# Pages without sections beneath them need no navigation at their left.
_ALONE = (
    "quickstart",
    "results",
    "architecture",
    "extending",
    "performance",
    "reliability",
    "scaling",
)
html_sidebars = {page: [] for page in (*_ALONE, "contributing", "changes", "citing")}
toc_object_entries_show_parents = "hide"
html_theme_options = {
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "navbar_persistent": ["search-button"],
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "tango",
}
