"""Who is told of alerts, and in which words."""
