"""Write the tables of docs/architecture.md: `python -m tests.support.tables`.

A table stands between `<!-- table NAME -->` and `<!-- end -->`.
"""

import re

from tests.support.artifacts import ARTIFACTS
from tests.support.closure import ROOT
from tests.support.rooms import ROOMS, stages_rerun
from tests.support.stages import STAGES

PAGE = ROOT / "docs" / "architecture.md"


def rooms_table() -> list[tuple[str, ...]]:
    order = list(ROOMS)
    rows = [
        (f"`{room}`", ", ".join(f"`{name}`" for name in sorted(imported, key=order.index)))
        for room, imported in ROOMS.items()
    ]
    return [("room", "imports"), *rows]


def in_words(stages: list[str]) -> str:
    """What an edit reruns."""
    if stages == list(STAGES):
        return "every stage"
    return ", ".join(f"`{stage}`" for stage in stages) or "nothing"


def reruns_table() -> list[tuple[str, ...]]:
    rows = [
        (f"`{room}/{inside}`" if inside else f"`{room}`", in_words(stages))
        for room, places in stages_rerun().items()
        for inside, stages in (sorted(places.items()) or [("", [])])
    ]
    return [("edit of", "reruns"), *rows]


def artifacts_table() -> list[tuple[str, ...]]:
    rows = [(f"`{path}`", row, ", ".join(names)) for path, (row, names) in ARTIFACTS.items()]
    return [("file", "a row for each of", "columns"), *rows]


TABLES = {"artifacts": artifacts_table, "rooms": rooms_table, "reruns": reruns_table}


def rendered(page: str) -> str:
    """The page with every table as the code has it."""
    for name, make in TABLES.items():
        head, *rows = make()
        lines = [head, ("---",) * len(head), *rows]
        table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
        begin, end = f"<!-- table {name} -->\n", "<!-- end -->"
        pattern = re.escape(begin) + ".*?" + end
        page, found = re.subn(pattern, lambda _, t=begin + table + end: t, page, flags=re.DOTALL)
        assert found == 1, f"{PAGE.name}: {begin.strip()} stands {found} times"
    return page


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text()))
