"""The paper's figures and what it says of collapse, drift and hallucination, put to the test."""
