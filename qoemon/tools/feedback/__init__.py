"""The command `qoemon feedback`: ratings of users beside the predictions for their sessions."""
