"""Demonstrations: what they are, how a model is asked for one, and what makes one unfit."""
