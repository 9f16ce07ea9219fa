"""`python -m bench`: the same as the command `bench`."""

import sys

if not sys.flags.safe_path:
    # Python has put the working folder first. What lies there must not be taken for a library's module.
    sys.path.append(sys.path.pop(0))

from bench.cli import main

if __name__ == "__main__":
    main()
