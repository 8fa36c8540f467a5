"""`python -m spargio._cli`: the command, for when its script is not on the PATH."""

import sys

from . import main

sys.exit(main())
