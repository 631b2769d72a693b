"""YAML files to validated sections: every error with its line, key, what was found and what was expected."""
