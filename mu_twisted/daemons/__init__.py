"""The daemons: one module each, with its Options and makeService. The composition root: here the parts meet."""
