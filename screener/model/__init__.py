"""Load and verify a model and its card; turn batches into predictions. Knows nothing of files or urgency."""
