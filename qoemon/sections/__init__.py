"""The configuration's sections, what they are made of, and how their mistakes are told."""
