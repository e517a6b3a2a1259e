"""Cross-validation, leave-one-out, subgroups, robustness, localisation."""
