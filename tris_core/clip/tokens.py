"""`data/tokens.parquet`: every expression as token ids, tokenised once per vocabulary.

Columns, in the order of the expressions: expression_id; tokens, the length of the sentence with
start and end; cut, whether it is longer than the models read; and for each vocabulary `ids_*`,
the padded token ids (T,) int32, named by a digest of the vocabulary and of how text is cut.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from tris_core.clip.tokenizer import Tokenizer
from tris_core.runtime.parquet import open_table, write_table
from tris_core.weights.clip_spec import Text

Vocabulary = list[int] | None


def write_tokens(
    path: Path, expressions: pd.DataFrame, vocabularies: Sequence[Vocabulary], text: Text
) -> int:
    """Tokenise `expressions` (expression_id, text) with every vocabulary.

    Returns how many are longer than `text.max_tokens`.
    """
    texts, most = expressions["text"].tolist(), text.max_tokens
    tokenizer = Tokenizer(vocabularies[0])
    lengths = np.array([len(tokenizer.words(sentence)) + 2 for sentence in texts], np.int64)
    columns = {
        "expression_id": pa.array(expressions["expression_id"]),
        "tokens": pa.array(lengths),
        "cut": pa.array(lengths > most),
    }
    for vocabulary in vocabularies:
        if (name := _column(vocabulary, text)) not in columns:
            ids = Tokenizer(vocabulary)(texts, most, overflow=text.overflow)
            columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(ids.numpy().ravel()), most)
    write_table(path, pa.table(columns))
    return int((lengths > most).sum())


def read_tokens(path: Path, texts: Sequence[str], vocabulary: Vocabulary, text: Text) -> Tensor:
    """Token ids (L, T) int32 of all expressions, for a model of this vocabulary.

    `texts` are tokenised only if the file has no column for that vocabulary, as for a model
    trained elsewhere.
    """
    name = _column(vocabulary, text)
    with open_table(path) as file:
        if name in file.schema_arrow.names:
            column = file.read([name])[name].combine_chunks()
            return torch.tensor(column.flatten().to_numpy()).view(-1, text.max_tokens)
    return Tokenizer(vocabulary)(texts, text.max_tokens, overflow=text.overflow)


def _column(vocabulary: Vocabulary, text: Text) -> str:
    facts = json.dumps([vocabulary, text.max_tokens, text.overflow])
    return f"ids_{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
