"""Run stages one after the other under torchrun.

torchrun -m tests.pipeline.ranks FOLDER STAGE ...
"""

import os
import sys
from importlib import import_module

from tris_core.runtime import distributed

if __name__ == "__main__":
    os.chdir(sys.argv[1])
    for name in sys.argv[2:]:
        import_module(f"stages.{name}").main()
        distributed.wait_for_all()
