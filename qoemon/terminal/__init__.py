"""`qoemon top`: a daemon's groups, live in a terminal."""
