"""Alerts and regimes: decisions on snapshots, tick by tick."""
