"""Training over several hospitals whose images stay where they are, beside training in one place."""
