"""The command line of training, evaluation and release."""
