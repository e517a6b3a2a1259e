"""Labelled data: read, group, split, audit."""
