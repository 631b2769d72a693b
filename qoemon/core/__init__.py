"""Pure computation: payloads to counts, counts to rating distributions, distributions to alerts.

No clock, no I/O, no asyncio; imports nothing else of qoemon. Times are arguments.
"""
