"""The paper's tables on real data: data sets, baselines of every kind, and what each is worth."""
