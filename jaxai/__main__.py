"""`python -m jaxai` and the console script."""

import sys

from jaxai.cli import main

if __name__ == "__main__":
    sys.exit(main())
