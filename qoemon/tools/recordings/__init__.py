"""Recordings of messages: file format, recording, replay."""
