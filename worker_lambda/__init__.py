"""The worker runs inside a Lambda function, dials a coordinator and carries out its commands.

Standard library and :mod:`mu_twisted.wire` only; nothing heavy is imported, since its start is part of every burst.
The entry is :func:`worker_lambda.lambda_function.lambda_handler`; ``python -m worker_lambda EVENT.json [COMMANDFILE]``
starts one by hand.
"""
