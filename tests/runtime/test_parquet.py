"""Tables. `tests.runtime.test_files` tests flipped bits."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from tris_core.runtime.parquet import read_table, table_writer

TABLE = pd.DataFrame(
    {
        "ref_id": [3, 1, 4, 1, 5, 9],
        "split": ["train", "val", "train", "val", "test", "train"],
        "text": ["a", None, "b", "a", None, None],
        "score": [0.5, None, 1.0, None, 2.0, 0.0],
        "hit": [True, False, False, True, True, False],
    }
)


@pytest.mark.parametrize("rows", [0, 1, 4, 6])
@pytest.mark.parametrize("columns", [None, ["text", "ref_id"]])
def test_a_table_of_any_number_of_row_groups_is_read_whole(
    rows: int, columns: list[str] | None, tmp_path: Path
) -> None:
    path, table = tmp_path / "table.parquet", pa.Table.from_pandas(TABLE, preserve_index=False)
    groups = [table[start : start + rows] for start in range(0, len(table), rows)] if rows else []
    with table_writer(path, table.schema) as writer:
        for group in groups:
            writer.write_table(group)
    written = TABLE if rows else TABLE[:0]
    expected = written[columns] if columns else written
    pd.testing.assert_frame_equal(read_table(path, columns), expected, check_dtype=bool(rows))
