"""Which data set, and where it lies."""

from typing import ClassVar, Literal

from pydantic import Field

from tris_core.params.base import Section


class DatasetParams(Section):
    """`root` holds `refer/<name>/instances.json`, `refer/<name>/refs(<split_by>).p` and the images.

    With an absolute root the copies of the repository that `dvc exp run --temp` and `--queue` make find it too.
    """

    key: ClassVar[str] = "dataset"

    name: Literal["shapes", "refcoco", "refcoco+", "refcocog"]
    split_by: Literal["demo", "unc", "google", "umd"]
    root: str = Field(min_length=1)
