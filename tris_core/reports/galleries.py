"""The sections of a report that are pictures."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tris_core.crf.seeds import BACKGROUND, FOREGROUND, decode_label
from tris_core.data.rle import decode
from tris_core.evaluation import examples as choice
from tris_core.evaluation.records import mask_ious, stored_mask
from tris_core.reports.content import Canvas, Group, Item, Picture, Section, Table
from tris_core.reports.experiments import Absent
from tris_core.reports.failures import MEANING, Kind, failure_kinds
from tris_core.reports.numbers import percent
from tris_core.reports.run import Response, Run

CORRECT = 0.5  # the IoU that P@0.5 asks for
GAIN = "points of IoU against the mean of its maps"


def worst_first(iou: "pd.Series[float]", n: int) -> list[int]:
    """Choose `n` of the index, worst first; all if there are fewer.

    Two thirds are the worst. The others are evenly spaced up to the best.
    """
    order = iou.sort_values(kind="stable").index
    if len(order) <= n:
        return [int(i) for i in order]
    worst = n - n // 3
    rest = np.linspace(worst, len(order) - 1, n - worst + 1).round().astype(int)[1:]
    return [int(order[i]) for i in (*range(worst), *rest)]


def evenly(ids: "pd.Series[int]", n: int) -> list[int]:
    """Choose `n` evenly spaced ids, from the first to the last; all if there are fewer."""
    chosen = np.unique(np.linspace(0, len(ids) - 1, min(n, len(ids))).round().astype(int))
    return [int(i) for i in ids.iloc[chosen]]


class Evaluated:
    """A step's masks of one split, with IoU and kind of failure by expression_id.

    Raises `Absent` if masks or records are missing, or the split has no expressions.
    """

    def __init__(self, run: Run, step: int, split: str) -> None:
        self.run = run
        self.masks = run.masks(step, split).set_index("expression_id", drop=False)
        records = run.records(step)
        self.iou = records[records["split"] == split].set_index("expression_id")["iou"]
        self.kinds = failure_kinds(self.masks, run.truth, run.index.objects)

    def mask(self, expression_id: int) -> NDArray[np.bool_]:
        return stored_mask(self.masks.loc[expression_id])

    def item(self, expression_id: int, responses: dict[int, Response]) -> Item:
        """Image, response map, prediction and truth of an expression, if they exist."""
        row = self.run.expressions.loc[expression_id]
        canvas = canvas_of(self.run, row["ref_id"])
        pictures = [canvas.photo()]
        if expression_id in responses:
            pictures.append(canvas.response("response map", responses[expression_id]))
        pictures.append(canvas.mask("prediction", self.mask(expression_id), "prediction"))
        facts = [f"expression {expression_id}", row["path"]]
        if expression_id in self.iou.index:
            iou, kind = self.iou[expression_id], self.kinds[expression_id]
            facts = [f"IoU {100 * iou:.1f} %", kind, *facts]
        return Item(row["text"], facts, pictures + truth_of(self.run, row["ref_id"], canvas))


def examples(section: Section, evaluated: Evaluated, split: str) -> None:
    """The expressions of the split's sheet: several of one image, then a failure."""
    run = evaluated.run
    table = run.expressions[run.expressions["split"] == split].reset_index()
    first, failed = choice.examples(table, evaluated.iou), choice.failure(table, evaluated.iou)
    responses = run.responses(list({*first, *failed}))
    for title, ids in (("", first), (choice.FAILURE, failed)):
        items = [evaluated.item(i, responses) for i in ids]
        if items:
            section.groups.append(Group(title, items, "wide"))


def canvas_of(run: Run, ref_id: int) -> Canvas:
    height, width = run.sizes.loc[ref_id, ["height", "width"]]
    return Canvas(run.image(ref_id), height, width)


def truth_of(run: Run, ref_id: int, canvas: Canvas) -> list[Picture]:
    if ref_id not in run.truth:
        return []
    return [canvas.mask("truth", run.truth.mask(ref_id), "truth")]


def failures(section: Section, evaluated: list[Evaluated]) -> None:
    """The number of each kind in each run, and the median by IoU of each kind of the last run."""
    counts = [found.kinds.value_counts() for found in evaluated]
    occurring = [
        kind for kind in Kind if kind is not Kind.UNKNOWN or any(kind in count for count in counts)
    ]
    rows = []
    for kind in occurring:
        pairs = [(c.get(kind, 0), max(c.sum(), 1)) for c in counts]
        shares = [f"{number}, {percent(number / total)} %" for number, total in pairs]
        rows.append([kind.value, *shares, MEANING[kind]])
    head = ["kind", *(found.run.name for found in evaluated), "meaning"]
    section.tables.append(Table("Expressions of each kind", head, rows))
    last = evaluated[-1]
    middle = {}
    for kind, ids in last.kinds.groupby(last.kinds):
        order = last.iou.loc[ids.index].sort_values(kind="stable").index
        middle[kind] = int(order[len(order) // 2])
    responses = last.run.responses(list(middle.values()))
    items = [last.item(middle[kind], responses) for kind in occurring if kind in middle]
    title = f"One of each kind, the median by IoU ({last.run.name})" if items else ""
    section.groups.append(Group(title, items))


def gallery(section: Section, evaluated: Evaluated, n: int) -> None:
    """Predictions sorted by IoU, worst first; if nothing was measured, some of the split."""
    iou, masks = evaluated.iou, evaluated.masks
    unmeasured = len(masks) - len(iou)
    if unmeasured:
        section.notes.append(
            f"{unmeasured} of {len(masks)} expressions have no true mask and no IoU."
        )
    chosen = worst_first(iou, n) if len(iou) else evenly(masks["expression_id"], n)
    responses = evaluated.run.responses(chosen)
    section.groups.append(Group("", [evaluated.item(i, responses) for i in chosen]))


def choices(section: Section, run: Run, split: str, n: int) -> None:
    """Refs with all their response maps and scores.

    Half of them are those where the selection lost most, half those where it gained most.
    """
    table = run.table("data/prms.parquet")
    table = table[table["ref_id"].isin(run.index.ref_ids(split))]
    several = table.groupby("ref_id")["expression_id"].transform("size") > 1
    table = table[several].set_index("expression_id")
    if table.empty:
        raise Absent(f"No ref of {split} has several sentences: there was nothing to choose from.")
    iou = run.records(1).set_index("expression_id")["iou"].reindex(table.index)
    chosen = iou.where(table["selected"]).groupby(table["ref_id"]).max()
    gain = (chosen - iou.groupby(table["ref_id"]).mean()).dropna()
    order = gain.sort_values(kind="stable").index
    groups: dict[str, Iterable[int]]
    if len(order):
        groups = {
            "Where choosing lost most": order[: n // 2],
            "Where choosing gained most": order[::-1][: n - n // 2],
        }
    else:
        groups = {"Some refs; none has a true mask": evenly(table["ref_id"].drop_duplicates(), n)}
    shown = table[table["ref_id"].isin([ref_id for found in groups.values() for ref_id in found])]
    responses = run.responses([int(i) for i in shown.index])
    shown = shown.assign(iou=iou)
    for title, ref_ids in groups.items():
        items = []
        for ref_id in ref_ids:
            item = _choice(run, ref_id, shown[shown["ref_id"] == ref_id], responses)
            if ref_id in gain:
                item.facts.insert(0, f"{100 * gain[ref_id]:+.1f} {GAIN}")
            items.append(item)
        section.groups.append(Group(title, items, "wide"))


def _choice(run: Run, ref_id: int, rows: pd.DataFrame, responses: dict[int, Response]) -> Item:
    """All maps of a ref; `rows` has score, selected and iou by expression_id."""
    canvas, path = canvas_of(run, ref_id), run.sizes.loc[ref_id, "path"]
    pictures = [canvas.photo()]
    for row in rows.itertuples():
        if row.Index not in responses:
            continue
        measured = "" if np.isnan(row.iou) else f", IoU {100 * row.iou:.1f} %"
        fact = f"{'chosen: ' if row.selected else ''}score {row.score:.3f}{measured}"
        text, chosen = run.expressions.loc[row.Index, "text"], bool(row.selected)
        pictures.append(canvas.response(text, responses[row.Index], fact=fact, chosen=chosen))
    return Item(f"ref {ref_id}", [path], pictures + truth_of(run, ref_id, canvas))


def strips(section: Section, run: Run, n: int) -> None:
    """From the selected response map to the pseudo-label.

    The training refs are evenly spaced from the worst pseudo-label to the best.
    """
    labels = run.table("data/pseudo_labels.parquet").set_index("ref_id")
    source = run.params["refine"]["from"]
    if source is not None:
        section.notes.append(
            f"Pseudo-labels were supplied (refine.from: {source}): there are no seeds."
        )
    measured = labels[run.truth.covers(labels.index.to_series())]
    if len(measured) < len(labels):
        missing = f"{len(labels) - len(measured)} of {len(labels)} training refs"
        section.notes.append(f"{missing} have no true mask and no IoU.")
    iou = pd.Series(mask_ious(measured, run.truth), index=measured.index).sort_values(kind="stable")
    chosen = evenly((iou if len(iou) else labels).index.to_series(), n)
    prms = run.table("data/prms.parquet").query("selected").set_index("ref_id")["expression_id"]
    responses = run.responses([int(i) for i in prms.loc[chosen]])
    seeds = _seeds(run)
    items = []
    for ref_id in chosen:
        canvas, expression_id = canvas_of(run, ref_id), int(prms[ref_id])
        pictures = [canvas.photo()]
        if expression_id in responses:
            pictures.append(canvas.response("selected response", responses[expression_id]))
        if ref_id in seeds:
            label = decode_label(seeds[ref_id])
            pictures.append(canvas.seeds(label, object_=FOREGROUND, background=BACKGROUND))
        fact = f"IoU {100 * iou[ref_id]:.1f} %" if ref_id in iou.index else ""
        mask = decode(*labels.loc[ref_id, ["counts", "height", "width"]])
        pictures.append(canvas.mask("walk, pseudo-label", mask, "pseudo_label", fact=fact))
        text, path = run.expressions.loc[expression_id, ["text", "path"]]
        items.append(Item(text, [f"ref {ref_id}", path], pictures + truth_of(run, ref_id, canvas)))
    section.groups.append(Group("", items, "wide"))


def _seeds(run: Run) -> "pd.Series[bytes] | dict[int, bytes]":
    path = "data/crf_seeds.parquet"
    return run.table(path).set_index("ref_id")["label"] if run.has(path) else {}


def flips(section: Section, first: Evaluated, second: Evaluated, n: int) -> None:
    """Expressions whose IoU crossed 0.5 between two runs, largest changes first."""
    if set(first.iou.index) != set(second.iou.index):
        raise Absent(
            "The runs were not measured on the same expressions; run them on the same data."
        )
    before, after = first.iou, second.iou.loc[first.iou.index]
    change = (after - before).sort_values(kind="stable")
    crossed = (before >= CORRECT).loc[change.index] != (after >= CORRECT).loc[change.index]
    moved = change[crossed]
    for title, found in (("Lost", moved[moved < 0]), ("Won", moved[moved > 0][::-1])):
        most = f", the {n} with the largest change" if len(found) > n else ""
        items = [_flip(first, second, int(i)) for i in found.index[:n]]
        section.groups.append(Group(f"{title}: {len(found)} of {len(change)}{most}", items))


def _flip(first: Evaluated, second: Evaluated, expression_id: int) -> Item:
    row = second.run.expressions.loc[expression_id]
    canvas = canvas_of(second.run, row["ref_id"])
    pictures = [canvas.photo()]
    for found in (first, second):
        fact = f"IoU {100 * found.iou[expression_id]:.1f} %, {found.kinds[expression_id]}"
        mask = found.mask(expression_id)
        pictures.append(canvas.mask(found.run.name, mask, "prediction", fact=fact))
    facts = [f"expression {expression_id}", row["path"]]
    return Item(row["text"], facts, pictures + truth_of(second.run, row["ref_id"], canvas))
