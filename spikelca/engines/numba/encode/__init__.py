"""Steady-state codes: drive, active sets, hard threshold."""
