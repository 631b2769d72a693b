"""The commands `qoemon state`."""
