"""The groups of a running daemon in the terminal."""
