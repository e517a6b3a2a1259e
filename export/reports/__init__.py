"""Tables, plots and pages about data, training runs and evaluations."""
