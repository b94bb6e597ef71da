"""python -m charrnn"""

import sys

from charrnn.cli import main

sys.exit(main())
