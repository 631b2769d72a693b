"""The demo: broker, simulated users and daemon in one command."""
