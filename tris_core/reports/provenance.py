"""Which results under a dvc.lock belong to the run that committed it.

An experiment that ran only some stages inherits the other stages' dvc.lock entries, and with them their results, from the
commit it started from. The entries themselves tell: each records the MD5 of what the stage read and the parameters it read.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from tris_core.runtime.declared import OUTPUTS, declared, maker_of, makers, upwards

Stages = Mapping[str, Any]  # the `stages` of a dvc.lock or dvc.yaml
Reasons = dict[str, list[str]]  # by stage
Inside = Callable[
    [str, tuple[str, ...]], str | None
]  # MD5 of a folder, path inside it -> MD5 of what is there, if known
MISSING = object()  # in place of a parameter that is not there


class Lock:
    """The stages of a dvc.lock, and those that dvc.yaml declares.

    `inside` looks into a folder that is known by its MD5. It returns None if it cannot tell, and then nothing is held
    against the stage.
    """

    def __init__(self, locked: Stages, declared: Stages, inside: Inside) -> None:
        """`declared` may be empty: then dvc.lock alone says which stages there are."""
        self.stages = {
            name: entry for name, entry in locked.items() if name in declared or not declared
        }
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
        """The stage whose output `path` is, or is part of; None for what no stage makes, code for one."""
        return maker_of(path, self._makers)

    def md5(self, path: str) -> str | None:
        """MD5 of an output or of a part of it, as recorded; None if that is not known."""
        place = next((place for place in upwards(path) if place in self.outs), None)
        if place is None:
            return None
        whole: str | None = self.outs[place].get("md5")
        inner = PurePosixPath(path).relative_to(place).parts
        return self._inside(whole, inner) if inner and whole is not None else whole

    def not_of_this_run(self, params: Callable[[str], Mapping[str, Any]]) -> Reasons:
        """Why the results of a stage were made by another run, for each stage where that is so.

        It read another version of a file than the one dvc.lock now has, it ran with other parameters than the files that
        `params` returns by name or with another command than dvc.yaml's, or dvc.lock has no entry of it or of its outputs. What
        follows such a stage is not listed (`with_followers`).
        """
        found = {name: ["not in dvc.lock"] for name in self._missing}
        for name, entry in self.stages.items():
            reasons = _changes(entry, self.md5, "read another {}") + _redeclared(
                entry, self._declared.get(name, {})
            )
            for file, recorded in entry.get("params", {}).items():
                reasons += _changed_params(recorded, params(file), file)
            if reasons:
                found[name] = reasons
        return found

    def changed_inputs(self, digest: Callable[[str], str | None]) -> Reasons:
        """Code and data that no stage makes whose MD5, as `digest` takes it, is not the recorded one; by stage.

        What is not there (`digest` returns None) is not held against the stage: data may be kept elsewhere, and a module
        cannot go without a change in those that imported it.
        """

        def of_input(path: str) -> str | None:
            return digest(path) if self.stage_of(path) is None else None

        found = {
            name: _changes(entry, of_input, "{} changed since")
            for name, entry in self.stages.items()
        }
        return {name: why for name, why in found.items() if why}

    def inputs(self) -> set[str]:
        """Paths of the code and data that stages read and no stage makes."""
        read = {dep["path"] for entry in self.stages.values() for dep in entry.get("deps", [])}
        return {path for path in read if self.stage_of(path) is None}

    def with_followers(self, own: Reasons) -> Reasons:
        """`own`, and every stage downstream of one of these, which names the stages that it follows."""
        found = dict(own)
        while new := {
            name: sorted(
                {
                    root
                    for before in stale
                    for root in ([f"follows {before}"] if before in own else found[before])
                }
            )
            for name in self.stages
            if name not in found and (stale := self._upstream(name) & found.keys())
        }:
            found |= new
        return found

    def _upstream(self, name: str) -> set[str]:
        makers = (self.stage_of(dep["path"]) for dep in self.stages[name].get("deps", []))
        return {maker for maker in makers if maker is not None}


def joined(*many: Reasons) -> Reasons:
    """All reasons of each stage."""
    return {name: [why for of in many for why in of.get(name, [])] for of in many for name in of}


def in_words(reasons: Reasons) -> str:
    """Stages that share their reasons together: "refine (read another data/prms.parquet); a, b (follows refine)"."""
    together: dict[str, list[str]] = {}
    for name, why in reasons.items():
        together.setdefault(shortened(why), []).append(name)
    return "; ".join(f"{', '.join(names)} ({why})" for why, names in together.items())


def shortened(why: list[str], most: int = 3) -> str:
    return ", ".join([*why[:most], *([f"and {len(why) - most} more"] if len(why) > most else [])])


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted name."""
    leaves: dict[str, Any] = {}
    for name, value in content.items():
        leaves |= (
            flat(value, f"{prefix}{name}.")
            if isinstance(value, Mapping)
            else {f"{prefix}{name}": value}
        )
    return leaves


def shown(value: Any) -> str:
    """A parameter as YAML writes it; "absent" for `MISSING`."""
    if value is MISSING:
        return "absent"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _changed_params(
    recorded: Mapping[str, Any], present: Mapping[str, Any], file: str
) -> list[str]:
    """Every leaf of the recorded parameters that has another value now; sections are recorded whole, so new leaves count."""
    reasons = []
    for key, value in recorded.items():
        before, now = flat({key: value}), flat({key: _at(present, key)})
        for leaf in dict.fromkeys([*before, *now]):
            one, other = before.get(leaf, MISSING), now.get(leaf, MISSING)
            if not _same(one, other):
                reasons.append(f"{leaf}: {shown(one)} in dvc.lock, {shown(other)} in {file}")
    return reasons


def _same(one: Any, other: Any) -> bool:
    """Whether parameters are the same to whoever reads them: 1 and 1.0 are, 1 and True are not, which Python calls equal."""
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
    """`words` about every dependency whose MD5 is known now and is not the one in dvc.lock."""
    found = []
    for dep in entry.get("deps", []):
        now = md5(dep["path"])
        if now is not None and dep.get("md5") != now:
            without = f"{dep['path']} has no MD5 in dvc.lock"
            found.append(words.format(dep["path"]) if "md5" in dep else without)
    return found


def _redeclared(locked: Mapping[str, Any], described: Mapping[str, Any]) -> list[str]:
    """What dvc.yaml says of a stage and dvc.lock does not; commands and paths with `${...}` in them are not compared."""
    made = {out["path"] for out in locked.get("outs", [])}
    cmd = described.get("cmd", locked.get("cmd"))
    reasons = ["ran another command"] if "${" not in str(cmd) and cmd != locked.get("cmd") else []
    reasons += [
        f"did not make {path}" for path in declared(described, *OUTPUTS) if path not in made
    ]
    read = {dep["path"] for dep in locked.get("deps", [])}
    reasons += [f"did not read {path}" for path in declared(described, "deps") if path not in read]
    known = {key for recorded in locked.get("params", {}).values() for key in recorded}
    plain = {
        "params": [entry for entry in described.get("params", []) if isinstance(entry, str)]
    }  # not those of other files
    return reasons + [
        f"did not know {key}" for key in declared(plain, "params") if key not in known
    ]
