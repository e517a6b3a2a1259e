"""Receive studies from the DICOM network or a watched folder, and screen each once it is complete.

What was received and is not answered follows from the disk and the audit log alone, so that a restart loses nothing.
"""
