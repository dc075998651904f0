"""The index joins its tables, and reads only those that are used."""

from pathlib import Path

import pandas as pd
import pytest

from tests.support.tiny_index import EXPRESSIONS, INDEX, REFS, write_index
from tris_core.data.index import Index

IMAGES = pd.DataFrame({"image_id": [3, 1, 2]})


def test_joined_keeps_the_order_of_expressions() -> None:
    shuffled = EXPRESSIONS.sample(frac=1, random_state=0)
    table = Index.of(refs=REFS, expressions=shuffled).joined()
    assert list(table) == ["expression_id", "ref_id", "text", "image_id", "split"]
    assert table["expression_id"].tolist() == shuffled["expression_id"].tolist()
    refs = REFS.set_index("ref_id")
    for row in table.itertuples():
        assert (row.image_id, row.split) == tuple(refs.loc[row.ref_id, ["image_id", "split"]])


def test_joined_refuses_a_ref_that_occurs_twice() -> None:
    index = Index.of(refs=pd.concat([REFS, REFS]), expressions=EXPRESSIONS)
    with pytest.raises(pd.errors.MergeError):
        index.joined()


def test_image_rows_are_positions_in_images() -> None:
    index = Index.of(images=IMAGES, refs=REFS, expressions=EXPRESSIONS)
    assert index.image_rows(pd.Series([1, 1, 3])).tolist() == [1, 1, 0]
    with pytest.raises(KeyError):
        index.image_rows(pd.Series([4]))


def test_refs_of_a_split() -> None:
    assert INDEX.ref_ids("val").tolist() == [10, 11, 12, 14]
    assert INDEX.ref_ids("train").tolist() == [13]
    assert INDEX.ref_ids("testA").empty


def test_tables_are_read_once_and_on_use(tmp_path: Path) -> None:
    folder = write_index(tmp_path / "index")  # it has no images
    index = Index.open(folder)
    pd.testing.assert_frame_equal(index.expressions, EXPRESSIONS)
    pd.testing.assert_frame_equal(index.refs, REFS[["ref_id", "image_id", "split"]])
    pd.testing.assert_frame_equal(index.objects, REFS)
    (folder / "refs.parquet").unlink()
    assert len(index.refs) == len(REFS)
    with pytest.raises(FileNotFoundError):
        Index.open(folder).joined()
