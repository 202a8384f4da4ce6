"""A small model for a data set of one's own: taught on the titles that its users chose."""
