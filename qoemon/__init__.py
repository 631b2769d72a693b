"""qoemon: from the QoS that sessions report to the ratings that their users would give, live."""

__version__ = "0.1.0"
