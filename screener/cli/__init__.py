"""Parse options, call one function, render, map exceptions to exit codes. Nothing medical is decided here."""
