"""One HTML file about a run, or two side by side: it holds its own pictures and opens without any network."""

from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from tris_core.evaluation.records import in_order
from tris_core.reports import galleries, numbers
from tris_core.reports.content import Section
from tris_core.reports.experiments import RunFiles
from tris_core.reports.galleries import Judged
from tris_core.reports.numbers import STEPS
from tris_core.reports.run import MADE, Run
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import replacing

ABOUT = {
    "changes": (
        "Differences",
        "The second run less the first. Intervals are of a paired bootstrap over images; undecided: 0 lies within.",
    ),
    "flips": ("What flipped", "Expressions whose IoU crossed 0.5 between the runs."),
    "metrics": (
        "Metrics",
        "As the evaluation stages stored them; the paper's numbers below where it has some.",
    ),
    "kinds": (
        "Kinds of expressions",
        "Metrics by kind of expression; tris_core/evaluation/breakdowns.py defines the groups.",
    ),
    "failures": (
        "Failures",
        "Every measured expression is of exactly one kind. Other objects are those of the image that the data set's refs name.",
    ),
    "gallery": (
        "Predictions, worst first",
        "Two thirds of those shown are the worst by IoU, the others lie evenly between these and the best. "
        "The ring is the response's maximum.",
    ),
    "choices": (
        "What PRMS chose",
        "All response maps of an object, one per sentence, with the score of Eq. 10; the one chosen is framed. "
        "The ring is the map's maximum.",
    ),
    "strips": (
        "From response to pseudo-label",
        "Training refs, evenly from the worst pseudo-label to the best. Seeds: object orange, background dark, rest ignored.",
    ),
    "curves": (
        "Curves",
        "Losses as the trainings logged them, and what a threshold makes of Step-1's maps; the second of two runs is dashed.",
    ),
    "what": (
        "What was run",
        "All parameters, hashes and versions. A run does not record its machine: the one below made this report.",
    ),
}


def write_page(
    path: Path, files: list[RunFiles], *, step: int | None, split: str, items: int
) -> None:
    """Write the report of one run, or of a second against a first, to `path`.

    `step` tells whose masks are shown (None: those of the last step that every run has), `split` whose expressions; `items`
    is how many predictions, with other pictures in proportion. What a run does not have is said in the page. Raises
    `InputError` if a run has no parameters, or no such split.
    """
    runs = [Run(found) for found in files]
    step = step or (2 if all(run.has(MADE[2]) for run in runs) else 1)
    for run in runs:
        _check(run, split)
    page = _environment().get_template("page.html.j2").render(
        title="TRIS: " + " against ".join(f"{run.name} ({run.label})" for run in reversed(runs)),
        lines=_lines(runs, step, split),
        warnings=[warning for run in runs for warning in run.warnings],
        headlines=_headlines(runs[-1], split),
        sections=_sections(runs, step, split, items),
    )  # fmt: skip
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("tris_core.reports", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _check(run: Run, split: str) -> None:
    known = in_order(run.refs["split"]) if run.has("data/index/refs.parquet") else [split]
    if split not in known:
        raise InputError(f"--split {split}: {run.name} has {', '.join(known)}")


def _lines(runs: list[Run], step: int, split: str) -> list[str]:
    """What the page is about, in a sentence each."""
    lines = [f"{run.name}: {run.commit}" for run in runs]
    lines.append(
        f"Made on {datetime.now(UTC):%Y-%m-%d}. Pictures are of the {split} split, masks those of {STEPS[step]}."
    )
    lines += [
        f"{run.name}: its image files are not there, so that maps and masks stand alone."
        for run in runs
        if run.blind
    ]
    return lines


def _headlines(run: Run, split: str) -> list[tuple[str, str]]:
    """mIoU along the pipeline, as far as the run got."""
    places = {
        "Step-1": ("metrics/step1.json", split, "mIoU"),
        "after PRMS": ("metrics/prms.json", split, "with"),
        "pseudo-labels": ("metrics/pseudo_labels.json", "train", "pseudo_mIoU"),
        "Step-2": ("metrics/step2.json", split, "mIoU"),
    }
    found = []
    for name, (path, of, metric) in places.items():
        value = run.json(path).get(of, {}).get(metric) if run.has(path) else None
        if value is not None:
            found.append((f"{name}, {of}: mIoU", f"{numbers.percent(value)} %"))
    return found


def _sections(runs: list[Run], step: int, split: str, items: int) -> list[Section]:
    sections = {name: Section(name, *about) for name, about in ABOUT.items()}
    if len(runs) == 2:
        sections["changes"].attempt(numbers.changes, sections["changes"], *runs)
    else:
        del sections["changes"], sections["flips"]
    sections["metrics"].attempt(numbers.metrics, sections["metrics"], runs)
    sections["kinds"].attempt(numbers.kinds_of_expressions, sections["kinds"], runs, step, split)
    _masks(sections, runs, step, split, items)
    few = max(1, items // 6)
    sections["choices"].attempt(galleries.choices, sections["choices"], runs[-1], split, few)
    sections["strips"].attempt(galleries.strips, sections["strips"], runs[-1], few)
    sections["curves"].attempt(numbers.curves, sections["curves"], runs)
    sections["what"].attempt(numbers.what_was_run, sections["what"], runs)
    return list(sections.values())


def _masks(
    sections: dict[str, Section], runs: list[Run], step: int, split: str, items: int
) -> None:
    """The sections that need a step's masks: failures of the runs that have them, the rest as far as these reach."""
    failures, gallery = sections["failures"], sections["gallery"]
    found = [failures.attempt(Judged, run, step, split) for run in runs]
    judged = [one for one in found if one is not None]
    missing = list(failures.notes)
    if judged:
        failures.attempt(galleries.failures, failures, judged)
    if judged and judged[-1].run is runs[-1]:
        gallery.attempt(galleries.gallery, gallery, judged[-1], items)
    else:
        gallery.notes += missing
    if len(judged) == 2:
        first, second = judged
        sections["flips"].attempt(
            galleries.flips, sections["flips"], first, second, max(1, items // 4)
        )
    elif len(runs) == 2:
        sections["flips"].notes += missing
