"""The paper's Figure 9: rounds with and without perturbation."""
