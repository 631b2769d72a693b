"""Subjective studies: the SOS parameter, and the constants of mappings."""
