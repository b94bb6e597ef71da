"""What a network has learned, to look at."""
