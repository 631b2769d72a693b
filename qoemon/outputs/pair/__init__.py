"""Two daemons with the same reports: which of them sends notifications."""
