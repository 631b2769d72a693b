"""The command `qoemon dashboards`, and the boards that it makes for a configuration."""
