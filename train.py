"""The front door: ``python train.py CORPUS`` is ``charrnn train CORPUS``."""

import sys

from charrnn.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
