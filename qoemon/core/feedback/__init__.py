"""Feedback: ratings of users beside the predictions for the same sessions."""
