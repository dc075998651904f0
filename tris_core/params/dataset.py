"""Which data set, and where it lies."""

from typing import ClassVar, Literal

from pydantic import Field

from tris_core.params.base import Section


class DatasetParams(Section):
    """`root` holds everything; `annotations` is where under it the annotations lie: a folder with `instances.json` and
    `refs(<split_by>).p` (`refer/<name>` in refer's downloads), ReferIt's folder of pickles (`referit/annotations`), or the
    .csv or .parquet file of a `list`. `split_by` is the partition: `none` for referit and list, `demo` for shapes.

    With an absolute root the copies of the repository that `dvc exp run --temp` and `--queue` make find it too.
    """

    key: ClassVar[str] = "dataset"

    name: Literal["shapes", "refcoco", "refcoco+", "refcocog", "referit", "list"]
    split_by: Literal["demo", "unc", "google", "umd", "none"]
    root: str = Field(min_length=1)
    annotations: str = Field(min_length=1)
