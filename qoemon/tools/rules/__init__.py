"""Rule files for Prometheus, their tests for promtool, and a scrape configuration."""
