"""A tick to its readers: metrics, JSON, live page, notifications."""
