"""A process that has imported the libraries once, and forks for each run of pytest.

It reads the arguments of pytest and the name of a log, one JSON list per line, and answers with the
number of the forked process, then with its exit code. The package itself is not imported here.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

LIBRARIES = ["pytest", "hypothesis", "numba", "sympy", "scipy.stats", "sklearn.pipeline", "pandas"]
LIBRARIES += ["sklearn.linear_model", "sklearn.utils.estimator_checks", "matplotlib.pyplot", "zarr"]


def main() -> None:
    for name in LIBRARIES:
        importlib.import_module(name)
    for line in sys.stdin:
        *words, log = json.loads(line)
        child = os.fork()
        if not child:
            os.setsid()
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream in (1, 2):
                os.dup2(file, stream)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            sys.argv[1:] = words
            sys.exit(sys.modules["pytest"].main(words))
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
