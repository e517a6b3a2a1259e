"""The training bench: everything that needs labels and TensorFlow. May import ``screener``, never the reverse."""
