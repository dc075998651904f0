"""Small files that could fill the memory. Each is read in a new process.

The modules `tests/attack/bombs_<kind>.py` add cases with `@bomb(name)`: a function that writes its
file into a folder and returns a reader. A bomb is survived if the reader raises `InputError` (with
`harmless=True`: returns) within `MOST_SECONDS` and with less than `MOST_BYTES` of memory beyond the
imports.

    python -c "from tests.attack.bombs import main; main()"
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

from tris_core.runtime.errors import InputError

MOST_SECONDS, MOST_BYTES = 5.0, 10**9
ROOM = 6 * 10**9  # bytes of address space beyond the imports; protects the machine's memory

Read = Callable[[], object]
Make = Callable[[Path], Read]


class Bomb(NamedTuple):
    make: Make
    harmless: bool


_BOMBS: dict[str, Bomb] = {}


def bomb(name: str, *, harmless: bool = False) -> Callable[[Make], Make]:
    """Register a case. `harmless`: the file only looks dangerous and must be read."""

    def register(make: Make) -> Make:
        assert name not in _BOMBS, name
        _BOMBS[name] = Bomb(make, harmless)
        return make

    return register


def bombs() -> dict[str, Bomb]:
    """The cases of all modules `bombs_*.py` in this folder."""
    for path in sorted(Path(__file__).parent.glob("bombs_*.py")):
        import_module(f"tests.attack.{path.stem}")
    return _BOMBS


def attempt(name: str) -> dict[str, Any]:
    """Make and read a bomb in a new process.

    Returns:
        `end`: "read", or the name of the exception; `message`: its text; `bytes`: peak memory
        beyond the imports; `seconds`: time to read; `file`: bytes on disk.
    """
    with tempfile.TemporaryDirectory() as folder:
        code = f"from tests.attack.bombs import _attempt; _attempt({name!r}, {folder!r})"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
    if done.returncode:
        end, message = f"killed ({done.returncode})", done.stderr[-500:]
        return {"end": end, "bytes": 0, "seconds": 0.0, "file": 0, "message": message}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def survived(name: str, result: dict[str, Any]) -> bool:
    expected = "read" if bombs()[name].harmless else "InputError"
    return (
        result["end"] == expected
        and result["bytes"] < MOST_BYTES
        and result["seconds"] < MOST_SECONDS
    )


def _attempt(name: str, folder: str) -> None:
    case = bombs()[name]
    imported = _memory("VmRSS")
    read = case.make(Path(folder))
    size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak memory
    resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + ROOM,) * 2)
    started = time.perf_counter()
    end, message = _end(read)
    seconds = time.perf_counter() - started
    peak = _memory("VmHWM") - imported
    result = {"end": end, "bytes": peak, "seconds": seconds, "file": size, "message": message}
    print(json.dumps(result))


def _end(read: Read) -> tuple[str, str]:
    try:
        read()
    except InputError as error:
        return "InputError", str(error)
    except BaseException as error:
        return type(error).__name__, str(error)
    return "read", ""


def _memory(field: str) -> int:
    """Memory of this process in bytes: VmRSS (now), VmHWM (peak), VmSize (address space)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def main(names: Iterable[str] = ()) -> None:
    """Try the named bombs, or all, and print the results. Exit code 1 unless all are survived."""
    rows, safe = [], 0
    for name in names or bombs():
        result = attempt(name)
        good = survived(name, result)
        safe += good
        rows.append(
            {
                "bomb": name,
                "file bytes": result["file"],
                "end": result["end"],
                "memory (GB)": result["bytes"] / 1e9,
                "seconds": result["seconds"],
                "survived": "yes" if good else "NO",
                "message": result["message"][:90],
            }
        )
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".2f"))
    print(f"{len(rows)} tried, {safe} survived")
    sys.exit(safe < len(rows))


if __name__ == "__main__":
    # the cases register with the imported module, and this one is __main__
    from tests.attack import bombs as registered

    registered.main(sys.argv[1:])
