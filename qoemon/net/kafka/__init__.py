"""Kafka as a transport: what its client is told, what it says, and bounded parts of a topic."""
