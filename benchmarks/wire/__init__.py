"""Benchmarks of a whole daemon beside a broker under load, compared with rivals. `python -m benchmarks.wire`."""
