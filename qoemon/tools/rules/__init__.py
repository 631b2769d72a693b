"""Rule files, their tests and a scrape configuration for Prometheus."""
