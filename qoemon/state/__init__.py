"""What survives a crash: journal, checkpoint, recovery, and their layout on disk."""
