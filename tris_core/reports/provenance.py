"""Which results under a dvc.lock belong to the run that committed it.

An experiment that ran only some stages inherits the other stages' dvc.lock entries, and with them
their results, from the commit it started from. The entries reveal it: each records the MD5 of the
stage's inputs, and its parameters.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from tris_core.runtime.declared import OUTPUTS, declared, maker_of, makers, upwards

Stages = Mapping[str, Any]  # the `stages` of a dvc.lock or dvc.yaml
Reasons = dict[str, list[str]]  # by stage
# From the MD5 of a folder and a path inside it to the MD5 of that path, None if it is unknown.
Inside = Callable[[str, tuple[str, ...]], str | None]
MISSING = object()  # the value of a missing parameter


class Lock:
    """The stages of a dvc.lock, and those that dvc.yaml declares.

    Args:
        locked: of dvc.lock.
        declared: of dvc.yaml. If empty, all stages of dvc.lock count.
        inside: looks into a folder known by its MD5. What it does not know is assumed unchanged.
    """

    def __init__(self, locked: Stages, declared: Stages, inside: Inside) -> None:
        stages = locked.keys() & (declared or locked).keys()
        self.stages = {name: entry for name, entry in locked.items() if name in stages}
        self._inside, self._declared = inside, declared
        self._missing = [name for name in declared if name not in locked]
        self.outs = {
            out["path"]: out for entry in self.stages.values() for out in entry.get("outs", [])
        }
        self._makers = makers(declared)
        self._makers |= {
            out["path"]: name
            for name, entry in self.stages.items()
            for out in entry.get("outs", [])
        }

    def stage_of(self, path: str) -> str | None:
        """The stage that makes `path` or a folder around it; None if no stage does."""
        return maker_of(path, self._makers)

    def md5(self, path: str) -> str | None:
        """The recorded MD5 of an output or of a part of it; None if it is unknown."""
        place = next((place for place in upwards(path) if place in self.outs), None)
        if place is None:
            return None
        whole: str | None = self.outs[place].get("md5")
        inner = PurePosixPath(path).relative_to(place).parts
        return self._inside(whole, inner) if inner and whole is not None else whole

    def not_of_this_run(self, params: Callable[[str], Mapping[str, Any]]) -> Reasons:
        """The stages whose results another run made, with the reasons.

        Such a stage read another version of a file than dvc.lock now has, ran with other
        parameters or another command, or is missing from dvc.lock, as a whole or with some of its
        outputs. Stages that follow are not listed (see `with_followers`).

        Args:
            params: returns the parameters in a file.
        """
        found = {name: ["not in dvc.lock"] for name in self._missing}
        for name, entry in self.stages.items():
            reasons = _changes(entry, self.md5, "read another {}")
            reasons += _redeclared(entry, self._declared.get(name, {}))
            for file, recorded in entry.get("params", {}).items():
                reasons += _changed_params(recorded, params(file), file)
            if reasons:
                found[name] = reasons
        return found

    def changed_inputs(self, digest: Callable[[str], str | None]) -> Reasons:
        """The stages whose code or data, if no stage makes it, has changed, with the reasons.

        A missing file does not count: data may be kept elsewhere, and a module cannot be removed
        without a change in the modules that imported it.

        Args:
            digest: the present MD5 of a path, None if it is missing.
        """

        def of_input(path: str) -> str | None:
            return digest(path) if self.stage_of(path) is None else None

        words = "{} changed since"
        found = {name: _changes(entry, of_input, words) for name, entry in self.stages.items()}
        return {name: reasons for name, reasons in found.items() if reasons}

    def inputs(self) -> set[str]:
        """Paths of the code and data that stages read but no stage makes."""
        read = {dep["path"] for entry in self.stages.values() for dep in entry.get("deps", [])}
        return {path for path in read if self.stage_of(path) is None}

    def with_followers(self, own: Reasons) -> Reasons:
        """`own`, and every stage downstream. Its reasons name the stages of `own` it follows."""
        found = dict(own)
        while True:
            new = {}
            for name in (stage for stage in self.stages if stage not in found):
                roots = [
                    [f"follows {before}"] if before in own else found[before]
                    for before in self._upstream(name) & found.keys()
                ]
                if roots:
                    new[name] = sorted({root for of in roots for root in of})
            if not new:
                return found
            found |= new

    def _upstream(self, name: str) -> set[str]:
        makers = (self.stage_of(dep["path"]) for dep in self.stages[name].get("deps", []))
        return {maker for maker in makers if maker is not None}


def joined(*many: Reasons) -> Reasons:
    """Merge the reasons of each stage."""
    return {name: [why for of in many for why in of.get(name, [])] for of in many for name in of}


def in_words(reasons: Reasons) -> str:
    """As "refine (read another data/prms.parquet); a, b (follows refine)"."""
    together: dict[str, list[str]] = {}
    for name, why in reasons.items():
        together.setdefault(shortened(why), []).append(name)
    return "; ".join(f"{', '.join(names)} ({why})" for why, names in together.items())


def shortened(why: list[str], most: int = 3) -> str:
    more = [f"and {len(why) - most} more"] if len(why) > most else []
    return ", ".join([*why[:most], *more])


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted name."""
    leaves: dict[str, Any] = {}
    for name, value in content.items():
        path = f"{prefix}{name}"
        leaves |= flat(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return leaves


def shown(value: Any) -> str:
    """A parameter as YAML writes it; "absent" for `MISSING`."""
    if value is MISSING:
        return "absent"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _changed_params(
    recorded: Mapping[str, Any], present: Mapping[str, Any], file: str
) -> list[str]:
    """The leaves of the recorded parameters that differ from the present ones.

    Sections are recorded as a whole, so new leaves count.
    """
    reasons = []
    for key, value in recorded.items():
        before, now = flat({key: value}), flat({key: _at(present, key)})
        for leaf in dict.fromkeys([*before, *now]):
            one, other = before.get(leaf, MISSING), now.get(leaf, MISSING)
            if not _same(one, other):
                reasons.append(f"{leaf}: {shown(one)} in dvc.lock, {shown(other)} in {file}")
    return reasons


def _same(one: Any, other: Any) -> bool:
    """Whether two parameters are equal. Unlike in Python, True is not equal to 1."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _at(content: Any, key: str) -> Any:
    for name in key.split("."):
        if not isinstance(content, Mapping) or name not in content:
            return MISSING
        content = content[name]
    return content


def _changes(entry: Mapping[str, Any], md5: Callable[[str], str | None], words: str) -> list[str]:
    """`words` for every dependency whose present MD5 is known and not the one in dvc.lock."""
    found = []
    for dep in entry.get("deps", []):
        now = md5(dep["path"])
        if now is not None and dep.get("md5") != now:
            unknown = f"{dep['path']} has no MD5 in dvc.lock"
            found.append(words.format(dep["path"]) if "md5" in dep else unknown)
    return found


def _redeclared(locked: Mapping[str, Any], described: Mapping[str, Any]) -> list[str]:
    """How a stage of dvc.yaml differs from its entry in dvc.lock.

    Commands and paths that contain `${...}` are not compared.
    """
    made = {out["path"] for out in locked.get("outs", [])}
    cmd = described.get("cmd", locked.get("cmd"))
    reasons = ["ran another command"] if "${" not in str(cmd) and cmd != locked.get("cmd") else []
    outs = declared(described, *OUTPUTS)
    reasons += [f"did not make {path}" for path in outs if path not in made]
    read = {dep["path"] for dep in locked.get("deps", [])}
    reasons += [f"did not read {path}" for path in declared(described, "deps") if path not in read]
    known = {key for recorded in locked.get("params", {}).values() for key in recorded}
    plain = [entry for entry in described.get("params", []) if isinstance(entry, str)]
    keys = declared({"params": plain}, "params")  # those of params.yaml, not of other files
    return reasons + [f"did not know {key}" for key in keys if key not in known]
