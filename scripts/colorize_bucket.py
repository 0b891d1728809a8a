"""Colours the drawings of folders and buckets as an Apache Beam job.

python scripts/colorize_bucket.py --input PATTERN... --output FOLDER [--run EXPORT] [Beam's flags]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from linewash.coloring_job.cli import main

if __name__ == "__main__":
    sys.exit(main())
