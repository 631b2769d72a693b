"""Real players that play a test stream and report to a running daemon."""
