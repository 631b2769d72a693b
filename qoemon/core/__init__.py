"""The QoE mathematics and the session windows: pure, with time as an argument."""
