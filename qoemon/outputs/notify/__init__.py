"""Alerts to receivers: Alertmanager, webhooks, MQTT."""
