"""The HTTP server: listener, TLS, authentication, limits, bodies."""
