"""`python -m jaxai` and the console script."""

import logging
import os
import sys
import traceback

from jaxai import cli
from jaxai.core.errors import RetryError, StorageError


def main() -> int:
    """Runs the command line; what the library says on the way, such as that it fetches a dataset, goes to stderr."""
    log = logging.getLogger("jaxai")
    log.addHandler(logging.StreamHandler())
    log.setLevel(logging.INFO)
    log.propagate = False  # some libraries give the root a handler, which would say everything again
    distributed = "--distributed" in sys.argv
    try:
        code = cli.main()
    except Exception:
        if not distributed:
            raise
        traceback.print_exc()
        code = 1
    # Python would wait for a thread that waits for a dead disk, and JAX for processes that wait for this one.
    if code in (StorageError.exit_code, RetryError.exit_code) or (distributed and 0 < code < 128):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
