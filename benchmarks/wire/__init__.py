"""The whole daemon beside a broker, under load, beside its rivals. `python -m benchmarks.wire`."""
