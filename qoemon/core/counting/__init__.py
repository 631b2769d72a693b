"""Sessions, groups and windows: reports to counts."""
