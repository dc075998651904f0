"""How much the page accepts and keeps, and how long it waits."""

from dataclasses import dataclass

from tris_core.demo.inputs import MAX_FILE_MB

REQUEST_BYTES = MAX_FILE_MB * 1024**2 + 2**16  # one picture with multipart's overhead
EVENT_BYTES = 2**20  # the JSON of one event


@dataclass(frozen=True)
class Limits:
    """Limits of one server, for all of its visitors together unless a comment says otherwise."""

    connections: int = 200
    sessions: int = 32  # open pages; each keeps up to 15 MB of answers
    questions: int = 32  # waiting for the models
    files: int = 500  # uploads on disk
    disk_bytes: int = 512 * 1024**2
    pictures: int = 4  # per session: its latest uploads
    kept_s: float = 3600  # uploads and answers
    # uploads and answers of a closed page, and uploads that no page uses
    grace_s: float = 120
    # a connection between requests, a request's header, or a client that stops reading
    idle_s: float = 15
    body_s: float = 120  # the body of a request
