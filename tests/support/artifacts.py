"""The tables that stages write: what a row is, and its columns in order."""

# `ids_*` stands for one column per vocabulary.
ARTIFACTS: dict[str, tuple[str, list[str]]] = {
    "data/index/images.parquet": (
        "images that a ref uses",
        ["image_id", "path", "height", "width", "bytes"],
    ),
    "data/index/refs.parquet": (
        "objects",
        ["ref_id", "image_id", "ann_id", "category_id", "category", "split"],
    ),
    "data/index/expressions.parquet": ("sentences", ["expression_id", "ref_id", "text"]),
    "data/truth.parquet": (
        "objects with a true mask",
        ["ref_id", "x0", "y0", "x1", "y1", "area", "height", "width", "counts"],
    ),
    "data/drops.parquet": ("what was left out or mended", ["kind", "id", "reason"]),
    "data/tokens.parquet": ("sentences", ["expression_id", "tokens", "cut", "ids_*"]),
    "data/responses.parquet": (
        "sentences",
        ["expression_id", "ref_id", "image_id", "split", "height", "width", "map"],
    ),
    "data/prms.parquet": ("sentences", ["ref_id", "expression_id", "score", "selected"]),
    "data/crf_seeds.parquet": ("train objects", ["ref_id", "image_id", "label"]),
    "data/pseudo_labels.parquet": ("train objects", ["ref_id", "height", "width", "counts"]),
    "data/predictions.parquet": (
        "sentences",
        [
            *("expression_id", "ref_id", "split", "height", "width"),
            *("counts", "score", "x", "y"),
        ],
    ),
}


def columns(names: list[str]) -> list[str]:
    """Column names as `ARTIFACTS` gives them: all `ids_...` as one `ids_*`."""
    return list(dict.fromkeys("ids_*" if name.startswith("ids_") else name for name in names))
