"""`python -m check_docker build WORK CACHE`, then `… up WORK`. Called by check-docker.sh, which makes the namespaces."""

import sys
from pathlib import Path

from check_docker.build import build
from check_docker.up import up

match sys.argv[1:]:
    case ["build", work, cache]:
        build(Path(work), Path(cache))
    case ["up", work]:
        up(Path(work))
    case _:
        raise SystemExit(__doc__)
