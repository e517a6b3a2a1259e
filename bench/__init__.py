"""What is measured about screener, and how."""
