"""Figures as text, and the table that HTML, Markdown and LaTeX print alike."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.statistics.bootstrap import Estimate

LONG_TABLE = 20
LINE = 110  # of a terminal


@dataclass(frozen=True)
class Table:
    """Cells of text with a heading and a note; the first `text_columns` columns are words, the others figures."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    text_columns: int = 1

    @property
    def is_long(self) -> bool:
        """Whether a page shows it folded."""
        return len(self.rows) > LONG_TABLE

    def to_latex(self, label: str) -> str:
        """A `booktabs` table."""
        align = "l" * self.text_columns + "r" * (len(self.columns) - self.text_columns)
        frame = pd.DataFrame(self.rows, columns=self.columns)
        text = frame.to_latex(index=False, escape=True, caption=_latex(self.title), label=label, column_format=align)
        for sign, command in LATEX_SIGNS.items():
            text = text.replace(sign, command)
        return text

    def to_text(self) -> str:
        """Columns of a terminal, words to the left and figures to the right; without title and note."""
        lines = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        sides = ["<" if place < self.text_columns else ">" for place in range(len(widths))]
        cells = [[f"{cell:{s}{w}}" for cell, s, w in zip(line, sides, widths, strict=True)] for line in lines]
        return "\n".join("  ".join(line).rstrip() for line in cells)


# What pdfLaTeX does not know as a character.
LATEX_SIGNS = {"−": "$-$", "±": "$\\pm$", "×": "$\\times$", "⁻²": "$^{-2}$", "⁻³": "$^{-3}$", "³": "$^{3}$",
               "ξ": "$\\xi$", "α": "$\\alpha$", "∞": "$\\infty$", "—": "---"}  # fmt: skip


def _latex(text: str) -> str:
    for sign in "&%$#_{}":
        text = text.replace(sign, f"\\{sign}")
    return text


def number(value: float | None, decimals: int = 2, signed: bool = False) -> str:
    """A figure with a true minus sign, which 0 has none of; "NaN" for NaN, "—" for what was not measured.

    >>> number(-0.5), number(0.5, signed=True), number(-0.001)
    ('−0.50', '+0.50', '0.00')
    """
    if value is None:
        return "—"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞"
    return f"{value:{'+' if signed else ''}z,.{decimals}f}".replace("-", "−").replace(",", " ")


def mean_and_spread(values: np.ndarray) -> str:
    """Mean ± standard deviation; of one value the value."""
    text = number(float(values.mean()))
    return f"{text} ± {number(float(values.std(ddof=1)))}" if len(values) > 1 else text


def decimals_for(values: Iterable[float]) -> int:
    """Decimals that show two digits of the largest of `values`: two at least, four at most."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return 2 if largest == 0 else min(4, max(2, 1 - math.floor(math.log10(largest))))


def with_interval(estimate: Estimate, signed: bool = True) -> str:
    """A figure and its interval: "−0.42 [−0.50, −0.31]"; without one the figure alone."""
    decimals = decimals_for(estimate)
    text = number(estimate.value, decimals, signed)
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return text
    return f"{text} [{number(estimate.low, decimals, signed)}, {number(estimate.high, decimals, signed)}]"


def percent(estimate: Estimate, decimals: int = 1) -> str:
    """A relative change and its interval in per cent: "−3.1 % [−4.0, −2.2]"."""
    if math.isnan(estimate.value):
        return "—"
    value, low, high = (number(100 * each, decimals, True) for each in estimate)
    return f"{value} %" if math.isnan(estimate.low) or math.isnan(estimate.high) else f"{value} % [{low}, {high}]"


def p_text(value: float) -> str:
    """A p-value with three decimals, "< 0.001" below that."""
    if math.isnan(value):
        return "—"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def counted(count: int, noun: str) -> str:
    """How many of something: "1 seed", "2 seeds"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def filled(text: str, indent: int) -> str:
    """Text in lines that a terminal has room for, the later ones indented; words, and names of cells, stay whole."""
    return textwrap.fill(text, LINE, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def two_ends(ends: Iterable[float], unit: str, between: str = " … ") -> str:
    """Two signed figures of one unit with two digits of the larger: "−13 … +18 %"; what is rounded to 0 keeps its sign.

    Args:
        ends: shares where `unit` is "%".
    """
    shown = [100 * end if unit == "%" else end for end in ends]
    largest = max(map(abs, shown))
    decimals = max(0, 1 - math.floor(math.log10(largest))) if 0 < largest < math.inf else 0
    signs = ["" if math.isnan(end) else "−" if end < 0 else "+" for end in shown]
    signed = [sign + number(abs(end), min(4, decimals)) for sign, end in zip(signs, shown, strict=True)]
    return f"{between.join(signed)} {unit}"
