"""How `tox -e docs` builds these pages: MyST markdown as it is read on a code host too, every warning an error."""

import importlib.metadata

project = "ownframe"
version = release = importlib.metadata.version("ownframe")
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True
html_theme = "furo"
html_title = f"ownframe {version}"
html_copy_source = False
html_show_sphinx = False
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
