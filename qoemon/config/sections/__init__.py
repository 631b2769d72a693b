"""Sections of the configuration file: keys, types, defaults, and the rules between keys."""
