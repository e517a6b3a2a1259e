"""The types that carry the program: what was seen, what the model answered, what is told to a person."""
