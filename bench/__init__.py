"""The bench measures the project's figures: ``make bench``."""
