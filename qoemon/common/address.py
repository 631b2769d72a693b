"""Writes the address of a broker for logs and messages."""

from __future__ import annotations


def address_text(host: str, port: int, path: str | None = None) -> str:
    """Host, port and the path of a WebSocket; without the path's query, which may hold a secret."""
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return authority + without_query(path or "")


def without_query(path: str) -> str:
    """The path without its query, which may hold a secret."""
    return path.partition("?")[0]
