"""Pages from templates: HTML, and Markdown that shows text as it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

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
    environment.filters |= {
        "markdown": markdown_text,
        "slug": slug,
        "paper_links": paper_links,
        "figure": figure_in_cell,
    }
    return environment.get_template(template).render(content)


def markdown_text(text: object) -> str:
    r"""Text that Markdown shows as it is, also in a table's cell.

    >>> markdown_text("a|b <script>")
    'a\\|b &lt;script&gt;'
    """
    escaped = str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(re.sub(r"([\\`*|])", r"\\\1", escaped).replace("](", "]\\(").split())


def figure_in_cell(text: str) -> Markup:
    """A figure for a cell of an HTML table that is broken before its interval and nowhere else.

    >>> figure_in_cell("+0.8 % [+0.1, +1.5]")
    Markup('<span>+0.8 %</span> <span>[+0.1, +1.5]</span>')
    """
    value, bracket, interval = text.partition(" [")
    return Markup("<span>{}</span> <span>[{}</span>").format(value, interval) if bracket else escape(text)


def slug(text: str) -> str:
    """Text as the name of a place in a page.

    >>> slug("Over time"), slug("ξ & more")
    ('over-time', 'ξ-more')
    """
    return re.sub(r"\W+", "-", text.lower()).strip("-")


def paper_links(text: str) -> Markup:
    """Text for HTML in which each arXiv number leads to its paper.

    >>> paper_links("a <b> (arXiv 2109.11818)")
    Markup('a &lt;b&gt; (<a href="https://arxiv.org/abs/2109.11818">arXiv 2109.11818</a>)')
    """
    link = r'<a href="https://arxiv.org/abs/\1">arXiv \1</a>'
    return Markup(re.sub(r"arXiv (\d{4}\.\d{5})", link, str(escape(text))))
