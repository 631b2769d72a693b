"""The QoE mathematics: MOS mappings, rating distributions, confidence intervals, and the bins that they work on."""
