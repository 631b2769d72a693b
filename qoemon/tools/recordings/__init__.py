"""Recordings of messages: the file format, recording, and running one through the core again."""
