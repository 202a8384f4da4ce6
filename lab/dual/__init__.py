"""The dual model of in-context recommendation: what attention over a demonstration computes, as a
step of gradient descent; what of that is exact, and on which models."""
