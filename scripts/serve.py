"""Serves a web page that colours a drawing while you draw.

python scripts/serve.py [--run RUN_OR_EXPORT] [--port 8765] [--open]
"""

import sys

if __name__ == "__main__":
    try:
        from pathlib import Path

        sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
        from linewash.serving.cli import main

        code = main()
    except KeyboardInterrupt:  # before the command has installed its signal handlers
        code = 130
    sys.exit(code)
