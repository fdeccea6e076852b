"""What holds for all tests."""

import os

from hypothesis import settings

# The gate says the same of the same code: properties are tried on the same examples each time. MU_SEARCH=1 looks
# for new ones.
settings.register_profile("same", derandomize=True)
settings.register_profile("search", derandomize=False, max_examples=1000)
settings.load_profile("search" if os.environ.get("MU_SEARCH") else "same")
