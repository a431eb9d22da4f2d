"""``python -m cfgtoy``: the command line, for use under torchrun too."""

import sys

from cfgtoy.cli import main

if __name__ == "__main__":
    sys.exit(main())
