"""MQTT client and HTTP server as transports: they know no session and no rating."""
