"""The HTTP input: players that speak CMCD, and reports of clients without MQTT."""
