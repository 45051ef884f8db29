"""Experiments of the paper: Table I and the figures."""
