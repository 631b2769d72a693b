"""Payloads to columns: topics, reports, batches, and their partition by session."""
