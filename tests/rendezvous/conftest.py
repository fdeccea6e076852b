"""Lets these tests use the wires in memory that the transport's tests have."""
