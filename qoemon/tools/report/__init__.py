"""The report on a recording, as one HTML page."""
