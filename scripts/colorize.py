"""Colours line drawings with a trained network.

python scripts/colorize.py [--run RUN_OR_EXPORT] DRAWING... -o OUTPUT
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from linewash.coloring.cli import main

if __name__ == "__main__":
    sys.exit(main())
