"""``python -m spikelca`` is ``spikelca``."""

import sys

from spikelca.cli import main

sys.exit(main())
