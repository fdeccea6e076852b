"""The demos show the whole on one machine: pipelines on the embedded stack, some with fake encoders."""
