"""Paths where the optima are known."""
