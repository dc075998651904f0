"""Attacks on the page of `tris demo`, over loopback only: `python -m tests.attack page` starts a server and tries them all.

An attack is a function that fails (`AssertionError`) if it gets through. tests/security/test_page.py runs the same ones.
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
    """Print what was tried and what survived, per group. Exits 1 if an attack got through."""
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
        counts["traceback or warning on the server's stderr"] = [
            1,
            int(server.errors.read_text() == ""),
        ]
    print(
        tabulate(
            [[group, *each] for group, each in counts.items()],
            headers=["attacks on the page", "tried", "survived"],
        )
    )
    sys.exit(any(tried > survived for tried, survived in counts.values()))
