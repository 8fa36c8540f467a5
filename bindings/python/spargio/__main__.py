"""`python -m spargio`: the command, for when its script is not on the PATH."""

import sys

from ._cli import main

sys.exit(main())
