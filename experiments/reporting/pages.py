"""Pages from templates: HTML, and Markdown that shows text as it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, content: dict[str, Any]) -> str:
    """A template of `templates/` filled with `content`; text is escaped where the template is HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = markdown_text
    return environment.get_template(template).render(content)


def markdown_text(text: object) -> str:
    r"""Text that Markdown shows as it is, also in a table's cell.

    >>> markdown_text("a|b <script>")
    'a\\|b &lt;script&gt;'
    """
    escaped = str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(re.sub(r"([\\`*|])", r"\\\1", escaped).replace("](", "]\\(").split())
