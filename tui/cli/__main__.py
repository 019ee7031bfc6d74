"""`python -m tui.cli` is `nanochat-tui`."""

import sys

from tui.cli.start import main

sys.exit(main())
