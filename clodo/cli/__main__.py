"""``python -m clodo.cli``: the same as ``clodo``, wherever the command itself was installed to."""

import sys

from clodo.cli.main import main

sys.exit(main())
