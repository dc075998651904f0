"""docs/parameters.md, made from the parameter sections and the presets.

python -m tris_core.cli.parameters > docs/parameters.md
"""

import inspect
import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML

from tris_core.cli.presets import presets
from tris_core.runtime.params import Section, sections

SHOWN = ("shapes", "paper")  # the presets whose values are shown
HEAD = f"""# Parameters

A parameter file has all of these sections and parameters; none has a default. `tris preset NAME`
writes a complete one. The tables show the values of the presets {" and ".join(SHOWN)}.

This page is made by `python -m tris_core.cli.parameters > docs/parameters.md`.
"""
_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def page() -> str:
    """The Markdown of docs/parameters.md."""
    known = presets()
    values = {name: YAML(typ="safe").load(known[name]) for name in SHOWN}
    classes = sections()
    parts = [HEAD]
    for key in values[SHOWN[0]]:
        parts += [f"## `{key}`\n", *_docstrings(classes[key])]
        parts.append(_table(classes[key], [content[key] for content in values.values()]))
    return "\n".join(parts)


def _docstrings(section: type[Section]) -> Iterator[str]:
    """What the classes of a section and of its parts say."""
    for cls in section.__mro__:
        if issubclass(cls, Section) and cls is not Section and cls.__doc__:
            yield f"{inspect.cleandoc(cls.__doc__)}\n"
    for name, field in section.model_fields.items():
        part = field.annotation
        if inspect.isclass(part) and issubclass(part, BaseModel) and part.__doc__:
            yield f"`{name}`: {inspect.cleandoc(part.__doc__)}\n"


def _table(section: type[Section], values: list[Any]) -> str:
    rows = [["parameter", "allowed", *SHOWN], ["---"] * (2 + len(SHOWN))]
    schema = section.model_json_schema(by_alias=True)
    for name, allowed in _leaves(schema, schema.get("$defs", {}), ""):
        rows.append([f"`{name}`", allowed, *(_value(content, name) for content in values)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _leaves(schema: Any, parts: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """Dotted name and allowed values of every parameter of a schema; `parts` are its `$defs`."""
    for name, field in schema["properties"].items():
        field = _resolved(field, parts)
        if "properties" in field:
            yield from _leaves(field, parts, f"{prefix}{name}.")
        else:
            yield prefix + name, _allowed(field, parts)


def _resolved(field: Any, parts: Any) -> Any:
    return parts[field["$ref"].rsplit("/", 1)[1]] if "$ref" in field else field


def _allowed(field: Any, parts: Any) -> str:
    """The values of a field, in words."""
    if "anyOf" in field:
        return " or ".join(_allowed(_resolved(one, parts), parts) for one in field["anyOf"])
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_allowed(_resolved(field['items'], parts), parts)}"
    bounds = [f"{sign} {field[key]}" for key, sign in _BOUNDS.items() if key in field]
    return ", ".join([field["type"], *bounds])


def _value(content: Any, name: str) -> str:
    """A parameter's value as YAML writes it."""
    for part in name.split("."):
        content = content[part]
    return f"`{content if isinstance(content, str) else json.dumps(content)}`"


if __name__ == "__main__":
    print(page(), end="")
