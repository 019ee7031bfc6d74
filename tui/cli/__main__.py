"""`python -m tui.cli` is `nanochat-tui`."""

import sys

from tui.cli.main import main

sys.exit(main())
