"""Where every artifact lies, as dvc.yaml declares it. Relative to the folder the stage runs in."""

from pathlib import Path

SHAPES = Path("data/shapes")

INDEX = Path("data/index")
IMAGES = INDEX / "images.parquet"
REFS = INDEX / "refs.parquet"
EXPRESSIONS = INDEX / "expressions.parquet"
TRUTH = INDEX / "truth.parquet"
TOKENS = INDEX / "tokens.parquet"

PACKED = Path("data/packed.json")
CLIP = Path("models/clip.json")
STEP1 = Path("models/step1")
RESPONSES = Path("data/responses.parquet")
PRMS = Path("data/prms.parquet")
IRN_LABELS = Path("data/irn_labels.parquet")
IRN = Path("models/irn")
PSEUDO_LABELS = Path("data/pseudo_labels.parquet")
STEP2 = Path("models/step2")
PREDICTIONS = Path("data/predictions.parquet")
EVALUATION = Path("data/evaluation")

METRICS = Path("metrics")
CURVES = METRICS / "curves"
SHEETS = METRICS / "sheets"
