"""Ratings and alerts of the past, over HTTP."""
