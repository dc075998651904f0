"""Attacks on the page of `tris demo`, over loopback only.

`python -m tests.attack page` starts a server and tries them all; tests/security/test_page.py runs
the same attacks. An attack is a function that raises `AssertionError` if it succeeds.
"""

import sys
import tempfile
from pathlib import Path

import httpx
from tabulate import tabulate

from tests.attack import page_loads, page_paths, page_requests
from tests.attack.page_server import running

ATTACKS = [*page_paths.ATTACKS, *page_requests.ATTACKS, *page_loads.ATTACKS]


def main() -> None:
    """Print how many attacks were tried and survived per group. Exit code 1 if one succeeds."""
    counts: dict[str, list[int]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="tris-attack-") as folder,
        running(Path(folder)) as server,
    ):
        for attack in ATTACKS:
            counted = counts.setdefault(attack.group, [0, 0])
            counted[0] += 1
            try:
                attack.run(server)
                counted[1] += 1
            except (AssertionError, OSError, LookupError, ValueError, httpx.HTTPError) as error:
                print(f"{attack.group}: {attack.name}: {error!r}"[:300], file=sys.stderr)
        silent = server.errors.read_text() == ""
        counts["traceback or warning on the server's stderr"] = [1, int(silent)]
    rows = [[group, *each] for group, each in counts.items()]
    print(tabulate(rows, headers=["attacks on the page", "tried", "survived"]))
    sys.exit(any(tried > survived for tried, survived in counts.values()))
