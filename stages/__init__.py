"""The stages of the pipeline, one command each."""

import gc

# Their imports make a million objects that stay. Python would look through them again and again for what can go, at a sixth
# of the time that a stage takes to start; what is left of it is in `stages._stage.stage_app`.
gc.set_threshold(100_000, 50, 100)
