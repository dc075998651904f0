"""Curves of a run as SVG within the page: text stays text, and black follows the page's own colour."""

import io
from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

INK = "#010203"  # stands for the page's text colour
STYLES = ("-", "--")
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.parse_math": False,  # a run may be called anything
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
}


def draw_curves(tables: Mapping[str, pd.DataFrame], *, y_label: str) -> Markup:
    """One line per column but the first, which is the abscissa; lines of a second run are dashed, in the first's colours."""
    with rc_context({**SETTINGS, "svg.hashsalt": y_label + "".join(tables)}):
        figure = Figure(figsize=(5.6, 3.2), layout="constrained")
        axes = figure.add_subplot()
        for ground in (figure.patch, axes.patch):
            ground.set_visible(False)
        for table, style in zip(tables.values(), STYLES, strict=False):
            x, *lines = table.columns
            for number, line in enumerate(lines):
                label = line if style == STYLES[0] else None
                axes.plot(
                    table[x], table[line], style, color=f"C{number}", linewidth=1.4, label=label
                )
            axes.set_xlabel(x)
        axes.set_ylabel(y_label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        drawn = io.StringIO()
        figure.savefig(
            drawn, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    svg = drawn.getvalue()
    return Markup(svg[svg.index("<svg") :].replace(INK, "currentColor"))
