"""What the comparison of ratings with predictions claims, measured: `python -m benchmarks.feedback`."""
