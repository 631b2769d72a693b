"""The configuration's rules as Prometheus evaluates them, and tests of them for promtool."""
