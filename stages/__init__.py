"""The stages of the pipeline, one command each."""

import gc
import sys

from tris_core.runtime.errors import InputError
from tris_core.runtime.installation import check_torch_pair

# Imports allocate about a million objects that live to the end; rescanning them takes a sixth of a stage's start-up.
# The rest of it is in `stages._stage.stage_app`.
gc.set_threshold(100_000, 50, 100)

try:
    check_torch_pair()
except InputError as error:  # before a stage imports torch, which would end in a traceback
    sys.exit(f"stages: {error}")
