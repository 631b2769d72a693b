"""Calibration from rating studies: SOS parameter and MOS mappings."""
