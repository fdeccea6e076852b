"""The dashboard is served from here: its page, its scripts, and who may see it."""
