"""The clinician's verdict: which slices to ask about, in which order, and how the answer gets into the log."""
