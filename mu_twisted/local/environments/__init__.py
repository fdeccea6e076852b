"""Environments run functions: isolated processes, limited, timed, and driven by AWS's runtime client.

Knows the host's kernel and Lambda's Runtime API, not Lambda's HTTP API. Imports nothing here: the processes below run
its modules without the project (:mod:`mu_twisted.local._bootstrap`). Those without an underscore are seen outside.
"""
