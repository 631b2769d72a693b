"""The sections of the configuration file: keys, types, defaults, and the rules that several keys obey together."""
