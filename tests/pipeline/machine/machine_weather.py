"""What befalls the stage `mark` from outside: for one run it is slow at a document, or dies of it. Never edited."""

import os
import signal
import time

MOST_SECONDS = 20


def endure(identities):
    """Use up the time limit where the document that MACHINE_SLOW names stands, die at the one of MACHINE_POISON."""
    if os.environ.get("MACHINE_SLOW") in identities:
        began = time.monotonic()
        while time.monotonic() - began < MOST_SECONDS:  # computing, not sleeping: the limit may be one of CPU time
            pass
    if os.environ.get("MACHINE_POISON") in identities:
        os.kill(os.getpid(), signal.SIGKILL)
