"""A page to draw on, coloured as you draw.

python scripts/serve.py [--run RUN_OR_EXPORT] [--port 8765] [--open]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from serving.command import main

if __name__ == "__main__":
    sys.exit(main())
