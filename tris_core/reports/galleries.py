"""The sections of a report that are pictures: failures, predictions, PRMS's choices, pseudo-labels, and what flipped."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tris_core.crf.seeds import BACKGROUND, FOREGROUND, decode_label
from tris_core.data.rle import decode
from tris_core.evaluation.records import mask_ious, stored_mask
from tris_core.reports.content import Canvas, Group, Item, Picture, Section, Table
from tris_core.reports.experiments import Absent
from tris_core.reports.failures import MEANING, Kind, failure_kinds
from tris_core.reports.numbers import percent
from tris_core.reports.run import Response, Run

CORRECT = 0.5  # IoU from which on an expression counts in P@0.5


def worst_first(iou: "pd.Series[float]", n: int) -> list[int]:
    """`n` of the index (all if there are fewer), worst first: two thirds are the worst, the rest lie evenly up to the best."""
    order = iou.sort_values(kind="stable").index
    if len(order) <= n:
        return [int(i) for i in order]
    worst = n - n // 3
    rest = (
        np.linspace(worst, len(order) - 1, n - worst + 1).round().astype(int)[1:]
    )  # the best among them
    return [int(order[i]) for i in (*range(worst), *rest)]


def spread(ids: "pd.Series[int]", n: int) -> list[int]:
    """`n` of them at even distances, the first and the last among them; all if there are fewer."""
    chosen = np.unique(np.linspace(0, len(ids) - 1, min(n, len(ids))).round().astype(int))
    return [int(i) for i in ids.iloc[chosen]]


class Judged:
    """A step's masks of one split, with the IoU and the kind of what was measured, by expression_id."""

    def __init__(self, run: Run, step: int, split: str) -> None:
        """Raises `Absent` where masks or records are not there, or the split has no expressions."""
        self.run = run
        self.masks = run.masks(step, split).set_index("expression_id", drop=False)
        records = run.records(step)
        self.iou = records[records["split"] == split].set_index("expression_id")["iou"]
        self.kinds = failure_kinds(self.masks, run.truth, run.refs)

    def mask(self, expression_id: int) -> NDArray[np.bool_]:
        return stored_mask(self.masks.loc[expression_id])

    def item(self, expression_id: int, responses: dict[int, Response]) -> Item:
        """Image, response map, prediction and truth of an expression, as far as they are there."""
        row = self.run.expressions.loc[expression_id]
        canvas = canvas_of(self.run, row["ref_id"])
        pictures = [canvas.photo()]
        if expression_id in responses:
            pictures.append(canvas.response("response map", responses[expression_id]))
        pictures.append(canvas.mask("prediction", self.mask(expression_id), "prediction"))
        facts = [f"expression {expression_id}", row["path"]]
        if expression_id in self.iou.index:
            facts = [
                f"IoU {100 * self.iou[expression_id]:.1f} %",
                self.kinds[expression_id],
                *facts,
            ]
        return Item(row["text"], facts, pictures + truth_of(self.run, row["ref_id"], canvas))


def canvas_of(run: Run, ref_id: int) -> Canvas:
    height, width = run.sizes.loc[ref_id, ["height", "width"]]
    return Canvas(run.image(ref_id), height, width)


def truth_of(run: Run, ref_id: int, canvas: Canvas) -> list[Picture]:
    if ref_id not in run.truth.index:
        return []
    return [canvas.mask("truth", _decoded(run.truth.loc[ref_id]), "truth")]


def _decoded(row: Any) -> NDArray[np.bool_]:
    return decode(row["counts"], row["height"], row["width"])


def failures(section: Section, judged: list[Judged]) -> None:
    """How often each kind occurs in each run, and the middle one of each kind of the last run, by IoU."""
    counts = [found.kinds.value_counts() for found in judged]
    occurring = [
        kind for kind in Kind if kind is not Kind.UNKNOWN or any(kind in count for count in counts)
    ]
    rows = []
    for kind in occurring:
        shares = [
            f"{c.get(kind, 0)}, {percent(c.get(kind, 0) / max(c.sum(), 1))} %" for c in counts
        ]
        rows.append([kind.value, *shares, MEANING[kind]])
    section.tables.append(
        Table(
            "Expressions of each kind",
            ["kind", *(found.run.name for found in judged), "meaning"],
            rows,
        )
    )
    last = judged[-1]
    middle = {}
    for kind, ids in last.kinds.groupby(last.kinds):
        order = last.iou.loc[ids.index].sort_values(kind="stable").index
        middle[kind] = int(order[len(order) // 2])
    responses = last.run.responses(list(middle.values()))
    items = [last.item(middle[kind], responses) for kind in occurring if kind in middle]
    section.groups.append(
        Group(f"One of each kind, the middle one by IoU ({last.run.name})" if items else "", items)
    )


def gallery(section: Section, judged: Judged, n: int) -> None:
    """Predictions sorted by IoU, worst first; where nothing was measured, some of the split's."""
    unmeasured = len(judged.masks) - len(judged.iou)
    if unmeasured:
        section.notes.append(
            f"{unmeasured} of {len(judged.masks)} expressions have no true mask and no IoU."
        )
    chosen = (
        worst_first(judged.iou, n) if len(judged.iou) else spread(judged.masks["expression_id"], n)
    )
    responses = judged.run.responses(chosen)
    section.groups.append(Group("", [judged.item(i, responses) for i in chosen]))


def choices(section: Section, run: Run, split: str, n: int) -> None:
    """Refs with all their response maps and scores: half of them where choosing lost most, half where it gained most."""
    table = run.table("data/prms.parquet")
    table = table[table["ref_id"].isin(run.refs.loc[run.refs["split"] == split, "ref_id"])]
    table = table[table.groupby("ref_id")["expression_id"].transform("size") > 1].set_index(
        "expression_id"
    )
    if table.empty:
        raise Absent(f"No ref of {split} has several sentences: there was nothing to choose from.")
    iou = run.records(1).set_index("expression_id")["iou"].reindex(table.index)
    gain = (
        iou.where(table["selected"]).groupby(table["ref_id"]).max()
        - iou.groupby(table["ref_id"]).mean()
    ).dropna()
    order = gain.sort_values(kind="stable").index
    if len(order):
        groups = {
            "Where choosing lost most": order[: n // 2],
            "Where choosing gained most": order[::-1][: n - n // 2],
        }
    else:
        groups = {"Some refs; none has a true mask": spread(table["ref_id"].drop_duplicates(), n)}
    shown = table[table["ref_id"].isin([ref_id for found in groups.values() for ref_id in found])]
    responses = run.responses([int(i) for i in shown.index])
    for title, ref_ids in groups.items():
        items = []
        for ref_id in ref_ids:
            facts = (
                [f"{100 * gain[ref_id]:+.1f} points of IoU against the mean of its maps"]
                if ref_id in gain
                else []
            )
            items.append(
                _choice(run, ref_id, shown[shown["ref_id"] == ref_id], iou, responses, facts)
            )
        section.groups.append(Group(title, items, "wide"))


def _choice(
    run: Run,
    ref_id: int,
    rows: pd.DataFrame,
    iou: "pd.Series[float]",
    responses: dict[int, Response],
    facts: list[str],
) -> Item:
    canvas, where = canvas_of(run, ref_id), run.sizes.loc[ref_id, "path"]
    pictures = [canvas.photo()]
    for expression_id, row in rows.iterrows():
        measured = "" if np.isnan(iou[expression_id]) else f", IoU {100 * iou[expression_id]:.1f} %"
        fact = f"{'chosen: ' if row['selected'] else ''}score {row['score']:.3f}{measured}"
        if expression_id in responses:
            text = run.expressions.loc[expression_id, "text"]
            pictures.append(
                canvas.response(
                    text, responses[expression_id], fact=fact, chosen=bool(row["selected"])
                )
            )
    return Item(f"ref {ref_id}", [*facts, where], pictures + truth_of(run, ref_id, canvas))


def strips(section: Section, run: Run, n: int) -> None:
    """From the selected response to the pseudo-label: training refs evenly from the worst pseudo-label to the best."""
    labels = run.table("data/pseudo_labels.parquet").set_index("ref_id")
    if run.params["refine"]["from"] is not None:
        section.notes.append(
            f"Pseudo-labels were supplied (refine.from: {run.params['refine']['from']}): there are no seeds."
        )
    measured = labels[labels.index.isin(run.truth.index)]
    if len(measured) < len(labels):
        section.notes.append(
            f"{len(labels) - len(measured)} of {len(labels)} training refs have no true mask and no IoU."
        )
    iou = pd.Series(mask_ious(measured, run.truth), index=measured.index).sort_values(kind="stable")
    chosen = spread((iou if len(iou) else labels).index.to_series(), n)
    seeds = (
        run.table("data/crf_seeds.parquet").set_index("ref_id")["label"]
        if run.has("data/crf_seeds.parquet")
        else {}
    )
    prms = run.table("data/prms.parquet").query("selected").set_index("ref_id")["expression_id"]
    responses = run.responses([int(i) for i in prms.loc[chosen]])
    items = []
    for ref_id in chosen:
        canvas, expression_id = canvas_of(run, ref_id), int(prms[ref_id])
        pictures = [canvas.photo()]
        if expression_id in responses:
            pictures.append(canvas.response("selected response", responses[expression_id]))
        if ref_id in seeds:
            pictures.append(
                canvas.seeds(decode_label(seeds[ref_id]), object_=FOREGROUND, background=BACKGROUND)
            )
        fact = f"IoU {100 * iou[ref_id]:.1f} %" if ref_id in iou.index else ""
        pictures.append(
            canvas.mask(
                "walk, pseudo-label", _decoded(labels.loc[ref_id]), "pseudo_label", fact=fact
            )
        )
        text, where = run.expressions.loc[expression_id, ["text", "path"]]
        items.append(Item(text, [f"ref {ref_id}", where], pictures + truth_of(run, ref_id, canvas)))
    section.groups.append(Group("", items, "wide"))


def flips(section: Section, first: Judged, second: Judged, n: int) -> None:
    """Expressions whose IoU crossed 0.5 between two runs, in both directions, those that moved farthest first."""
    if set(first.iou.index) != set(second.iou.index):
        raise Absent(
            "The runs were not measured on the same expressions; run them on the same data."
        )
    before, after = first.iou, second.iou.loc[first.iou.index]
    change = (after - before).sort_values(kind="stable")
    crossed = (before >= CORRECT).loc[change.index] != (after >= CORRECT).loc[change.index]
    moved = change[crossed]
    for title, found in (("Lost", moved[moved < 0]), ("Won", moved[moved > 0][::-1])):
        heading = f"{title}: {len(found)} of {len(change)}" + (
            f", the {n} that moved farthest" if len(found) > n else ""
        )
        items = [_flip(first, second, int(i)) for i in found.index[:n]]
        section.groups.append(Group(heading, items))


def _flip(first: Judged, second: Judged, expression_id: int) -> Item:
    row = second.run.expressions.loc[expression_id]
    canvas = canvas_of(second.run, row["ref_id"])
    pictures = [canvas.photo()]
    for found in (first, second):
        fact = f"IoU {100 * found.iou[expression_id]:.1f} %, {found.kinds[expression_id]}"
        pictures.append(
            canvas.mask(found.run.name, found.mask(expression_id), "prediction", fact=fact)
        )
    facts = [f"expression {expression_id}", row["path"]]
    return Item(row["text"], facts, pictures + truth_of(second.run, row["ref_id"], canvas))
