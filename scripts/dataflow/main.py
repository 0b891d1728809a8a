"""Runs `python -m preprocess` from a file, which the launcher of a Flex Template needs."""

import sys

from preprocess.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
