"""Curves as SVG inside the page. Text stays text, and takes the colour of the page's text."""

import io
from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

INK = "#010203"  # replaced by the colour of the page's text
STYLES = ("-", "--")
INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.parse_math": False,  # the name of a run may hold a dollar sign
    **dict.fromkeys(INKED, INK),
}


def draw_curves(tables: Mapping[str, pd.DataFrame], *, y_label: str) -> Markup:
    """Draw one line per column over the first column.

    Lines of a second run are dashed and have the colours of the first.

    Args:
        tables: by name of the run.
    """
    with rc_context({**SETTINGS, "svg.hashsalt": y_label + "".join(tables)}):
        figure = Figure(figsize=(5.6, 3.2), layout="constrained")
        axes = figure.add_subplot()
        for ground in (figure.patch, axes.patch):
            ground.set_visible(False)
        for table, style in zip(tables.values(), STYLES, strict=False):
            x, *lines = table.columns
            for number, line in enumerate(lines):
                look: dict[str, Any] = {"color": f"C{number}", "linewidth": 1.4}
                label = line if style == STYLES[0] else None
                axes.plot(table[x], table[line], style, label=label, **look)
            axes.set_xlabel(x)
        axes.set_ylabel(y_label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        drawn = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(drawn, format="svg", metadata=nothing)
    svg = drawn.getvalue()
    return Markup(svg[svg.index("<svg") :].replace(INK, "currentColor"))
