"""The stages of the pipeline, one command each."""

import gc
import sys

from tris_core.runtime.errors import InputError
from tris_core.runtime.installation import check_torch_pair

# Importing torch and pandas allocates about a million long-lived objects; the default thresholds
# rescan them repeatedly, for a sixth of a stage's start-up.
gc.set_threshold(100_000, 50, 100)

try:
    check_torch_pair()
except InputError as error:  # importing torch would end in a traceback
    sys.exit(f"stages: {error}")
