"""Entry point of ``python -m spikelca``, the same as the command ``spikelca``."""

import sys

from spikelca.cli import main

sys.exit(main())
