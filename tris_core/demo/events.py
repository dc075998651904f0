"""Checks what the browser sends on an event, and rewrites it for Gradio."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tris_core.demo.examples import SEEDS
from tris_core.demo.inputs import HIGHEST, LOWEST
from tris_core.demo.uploads import Uploads
from tris_core.runtime.errors import InputError

STRICT = ConfigDict(strict=True)
SESSION = "[0-9a-z]{1,40}"


class Picture(BaseModel):
    """Gradio's FileData, without the URL that it may contain beside the path."""

    model_config = STRICT
    path: str = Field(max_length=4096)
    orig_name: str | None = Field(None, max_length=255)


class Picked(BaseModel):
    model_config = STRICT
    index: int = Field(ge=0, lt=len(SEEDS))


class Event(BaseModel):
    """The body of a request as Gradio's client sends it."""

    model_config = STRICT
    fn_index: int
    session_hash: str = Field(pattern=f"^{SESSION}$")
    trigger_id: int | None = None
    data: list[Any]
    event_data: Any = None


Threshold = Annotated[float, Field(ge=LOWEST, le=HIGHEST, allow_inf_nan=False)]
VALUES: dict[str, TypeAdapter[tuple[Any, ...]]] = {
    "check": TypeAdapter(tuple[Picture | None]),
    "pick": TypeAdapter(tuple[()]),
    "mark": TypeAdapter(tuple[Picture | None, str, Threshold]),
    "mark_again": TypeAdapter(tuple[None, Threshold]),
}


def read_event(
    body: bytes, functions: dict[int, str], uploads: Uploads
) -> tuple[str, str | None, bytes]:
    """Validate an event.

    Args:
        body: the body of the request.
        functions: the functions of the page that may be called, by number.
        uploads: the server's uploads.

    Returns:
        The session, the name of the upload in question (or None), and the event for Gradio with
        only what was checked.

    Raises:
        InputError: it is not an event of the page.
    """
    try:
        event = Event.model_validate_json(body)
        name = functions[event.fn_index]
        values = VALUES[name].validate_json(json.dumps(event.data), strict=True)
        picked = Picked.model_validate(event.event_data) if name == "pick" else None
    except (ValidationError, KeyError, ValueError, RecursionError) as error:
        raise InputError("This is not an event of the page. Reload it.") from error
    upload: str | None = None
    data: list[Any] = []
    for value in values:
        if isinstance(value, Picture):
            path = uploads.find(value.path)
            if path is not None:
                upload = uploads.upload_of(path)
            data.append(path and _file_data(str(path), value.orig_name))
        else:
            data.append(value)
    event.data, event.event_data = data, picked and {"index": picked.index, "value": None}
    return event.session_hash, upload, event.model_dump_json().encode()


def _file_data(path: str, name: str | None) -> dict[str, Any]:
    return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
