"""A cluster on this machine: a real Kafka, and a demonstration on top of it."""
