"""The demos show the whole on one machine: pipelines on the embedded stack, some with fake encoders.

Each public module is one command of ``mu``, or what demos and tests share: ``fixtures``, ``fake_encoders``. Nothing is
imported here, so that a command pays only for its own module. The rest of the commands knows nothing of the demos.
"""
