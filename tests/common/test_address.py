"""Addresses in logs are unambiguous, and show no secret."""

from __future__ import annotations

from qoemon.common.address import address_text


def test_ipv6_addresses_are_in_brackets() -> None:
    assert address_text("::1", 1883) == "[::1]:1883"
    assert address_text("broker.example.org", 443) == "broker.example.org:443"


def test_a_path_is_shown_without_its_query() -> None:
    assert address_text("broker.example.org", 443, "/mqtt?token=hunter2") == "broker.example.org:443/mqtt"
