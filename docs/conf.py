"""How Sphinx builds the site: ``nox -s docs``, or ``python -m sphinx docs docs/_build/html``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pygments.lexer import RegexLexer
from pygments.token import Generic, Keyword, Name, Text, Whitespace

import grpc_guard

project = "grpc_guard"
author = "The grpc_guard authors"
copyright = "The grpc_guard authors"  # noqa: A001  # Sphinx's name
version = release = grpc_guard.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build", "examples"]
highlight_language = "text"  # a block that names no language is output

nitpicky = True
# The site is built without a network, so other projects' objects cannot be looked up; private
# objects have no page.
nitpick_ignore_regex = [("py:.*", r"(grpc|grpc_guard\._\w+|collections)\..*")]

myst_heading_anchors = 4
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"

html_theme = "furo"
pygments_dark_style = "monokai"
html_title = f"grpc_guard {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

_RULES = """
```{toctree}
:hidden:
:glob:

*
```
"""


# Pages that the tables of contents name before they exist.
_TO_COME = ("lifecycle", "performance", "probe", "registry")


def _complete(app: Any, page: str, source: list[str]) -> None:
    """Add the pages about rules below their index, which is also for readers on a code host."""
    if page == "rules/README":
        source[0] += _RULES
    if page.endswith("/index"):
        for name in _TO_COME:
            if not (Path(app.srcdir) / f"{name}.md").exists():
                source[0] = source[0].replace(f"\n../{name}\n", "\n")


class Output(RegexLexer):
    """The output of a command: prompts, and the parts of a report that a reader looks for."""

    name = "output"
    tokens = {
        "root": [
            (r"^\$ .*", Generic.Prompt),
            (r"^[a-z]+(-[a-z]+)+(?=: )", Generic.Error),
            (r"^ +(owner|caller|without the guard|how to fix it|rule):", Keyword),
            (r'File "[^"\n]*", line \d+', Name.Function),
            (r"\n", Whitespace),
            (r".", Text),
        ]
    }


def setup(app: Any) -> None:
    """Register our extensions of Sphinx."""
    assert Path(grpc_guard.__file__).parent.parent == Path(__file__).parent.parent, (
        "the site must be built from the package beside it"
    )
    app.connect("source-read", _complete)
    app.add_lexer("text", Output)
