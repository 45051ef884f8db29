"""Helpers without knowledge of circuits: validation, files, memory, optional packages."""
