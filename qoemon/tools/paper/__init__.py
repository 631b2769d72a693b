"""The figures and the table of the paper that the method is from, out of the core."""
