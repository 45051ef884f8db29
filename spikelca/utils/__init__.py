"""Helpers that do not depend on circuits: validation, files, memory and optional packages."""
