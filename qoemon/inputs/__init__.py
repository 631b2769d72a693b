"""Messages into the inbox."""
