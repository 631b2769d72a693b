"""What the study tools claim, measured: `python -m benchmarks.calibration`."""
