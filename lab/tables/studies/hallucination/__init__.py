"""Written lists, and what they name."""
