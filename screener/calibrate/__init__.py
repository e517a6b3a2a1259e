"""A site's own operating point and probability calibration, kept in a site profile beside the model."""
