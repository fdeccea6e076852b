"""Lets the tests of this directory share the contract and the wires in memory."""
