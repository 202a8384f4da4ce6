"""Retrieval compared with what else could find candidates: does the next item come among 50?"""
