"""One HTML file about a run, or about two. It contains its pictures and needs no network."""

from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from tris_core.evaluation.records import in_order
from tris_core.reports import galleries, numbers
from tris_core.reports.content import Section
from tris_core.reports.experiments import RunFiles
from tris_core.reports.galleries import Evaluated
from tris_core.reports.numbers import STEPS
from tris_core.reports.run import MASKS, Run
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import replacing

ABOUT = {
    "changes": (
        "Differences",
        "The second run less the first. Intervals are over images only: one run of each says "
        "nothing about other random seeds (tris compare takes several). A difference is undecided "
        "if it may be chance, after Holm's correction for all differences of its table.",
    ),
    "flips": ("What flipped", "Expressions whose IoU crossed 0.5 between the runs."),
    "examples": (
        "Examples",
        "Several sentences of one image, as on the sheet of the split. The ring marks the maximum "
        "of the response.",
    ),
    "metrics": (
        "Metrics",
        "As stored by the evaluation stages, with the paper's numbers below if it has any.",
    ),
    "kinds": (
        "Kinds of expressions",
        "Metrics by kind of expression. tris_core/evaluation/breakdowns.py defines the groups.",
    ),
    "failures": (
        "Failures",
        "Every measured expression is of exactly one kind. Other objects are those of the image "
        "that some ref of the data set names.",
    ),
    "gallery": (
        "Predictions, worst first",
        "Two thirds are the worst by IoU. The others are evenly spaced from there to the best. "
        "The ring marks the maximum of the response.",
    ),
    "choices": (
        "What PRMS chose",
        "All response maps of an object, one per sentence, with the score of Eq. 10. The selected "
        "map is framed. The ring marks the maximum of the map.",
    ),
    "strips": (
        "From response to pseudo-label",
        "Training refs, evenly spaced from the worst pseudo-label to the best. Seeds: object "
        "orange, background dark, ignored pixels plain.",
    ),
    "curves": (
        "Curves",
        "Losses as logged in training, and the mIoU of Step-1's maps by threshold. The second of "
        "two runs is dashed.",
    ),
    "what": (
        "What was run",
        "All parameters, hashes and versions. A run does not record its machine; the machine "
        "below made this report.",
    ),
}


def write_page(
    path: Path, files: list[RunFiles], *, step: int | None, split: str, items: int
) -> None:
    """Write the report of one run, or of a second against a first, to `path`.

    Missing results are listed in the page.

    Args:
        files: one run or two.
        step: whose masks to show; None for the last step that every run has.
        split: whose expressions to show.
        items: number of predictions; the numbers of other pictures are proportional.

    Raises:
        InputError: if a run has no parameters, or no such split.
    """
    runs = [Run(found) for found in files]
    step = step or (2 if all(run.has(MASKS[2]) for run in runs) else 1)
    for run in runs:
        _check(run, split)
    names = " against ".join(f"{run.name} ({run.label})" for run in reversed(runs))
    page = (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=f"TRIS: {names}",
            lines=_lines(runs, step, split),
            warnings=[warning for run in runs for warning in run.warnings],
            headlines=_headlines(runs[-1], split),
            sections=_sections(runs, step, split, items),
        )
    )
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
    known = in_order(run.index.refs["split"]) if run.has("data/index/refs.parquet") else [split]
    if split not in known:
        raise InputError(f"--split {split}: {run.name} has {', '.join(known)}")


def _lines(runs: list[Run], step: int, split: str) -> list[str]:
    """The subject of the page, one sentence each."""
    commits = [f"{run.name}: {run.commit}" for run in runs]
    made = f"Made on {datetime.now(UTC):%Y-%m-%d}."
    shown = f"Pictures are of the {split} split, and masks are those of {STEPS[step]}."
    blind = [
        f"{run.name}: its image files are missing, so maps and masks are drawn without them."
        for run in runs
        if run.blind
    ]
    return [*commits, f"{made} {shown}", *blind]


def _headlines(run: Run, split: str) -> list[tuple[str, str]]:
    """mIoU after each step that the run has."""
    steps = {
        "Step-1": ("metrics/step1.json", split, "mIoU"),
        "after PRMS": ("metrics/prms.json", split, "with"),
        "pseudo-labels": ("metrics/pseudo_labels.json", "train", "pseudo_mIoU"),
        "Step-2": ("metrics/step2.json", split, "mIoU"),
    }
    found = []
    for name, (path, of, metric) in steps.items():
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
    """Fill the sections that need a step's masks, for the runs that have them."""
    failures, examples, gallery = (sections[key] for key in ("failures", "examples", "gallery"))
    found = [failures.attempt(Evaluated, run, step, split) for run in runs]
    evaluated = [one for one in found if one is not None]
    missing = list(failures.notes)
    if evaluated:
        failures.attempt(galleries.failures, failures, evaluated)
    if evaluated and evaluated[-1].run is runs[-1]:
        examples.attempt(galleries.examples, examples, evaluated[-1], split)
        gallery.attempt(galleries.gallery, gallery, evaluated[-1], items)
    else:
        examples.notes += missing
        gallery.notes += missing
    if len(evaluated) == 2:
        (first, second), flips = evaluated, sections["flips"]
        flips.attempt(galleries.flips, flips, first, second, max(1, items // 4))
    elif len(runs) == 2:
        sections["flips"].notes += missing
