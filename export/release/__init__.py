"""Convert, calibrate, certify and describe a model for release."""
