"""What a Flex Template starts: `python -m preprocess`, from a file, as the launcher wants it."""

import sys

from preprocess.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
