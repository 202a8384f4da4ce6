"""Data sets as they are published, made into evaluation files once."""
