"""The MQTT client: connection, TLS, errors, and reading in bulk."""
