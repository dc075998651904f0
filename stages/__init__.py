"""The stages of the pipeline, one command each."""

import gc
import sys

from tris_core.runtime.errors import InputError
from tris_core.runtime.installation import check_torch_pair

# Imports allocate about a million long-lived objects. With the default thresholds the garbage
# collector rescans them during a sixth of a stage's start-up. `run_stage` freezes them afterwards.
gc.set_threshold(100_000, 50, 100)

try:
    check_torch_pair()
except InputError as error:  # importing torch would end in a traceback
    sys.exit(f"stages: {error}")
