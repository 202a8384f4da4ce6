"""A user whose taste changes."""
