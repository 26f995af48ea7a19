"""`python -m jaxai` and the console script."""

import logging
import sys

from jaxai import cli


def main() -> int:
    """Runs the command line; what the library says on the way, such as that it fetches a dataset, goes to stderr."""
    logging.getLogger("jaxai").addHandler(logging.StreamHandler())
    logging.getLogger("jaxai").setLevel(logging.INFO)
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
