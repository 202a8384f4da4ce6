"""Recommenders that are trained: the traditional baselines, behind one trainer and one scorer."""
