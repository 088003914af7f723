"""Settings for all tests."""

import signal

from hypothesis import settings

# A background job of a shell ignores SIGINT, and so would the programs that tests start in order to interrupt them.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Otherwise an example may take 200 ms, which a machine that does much else misses.
settings.register_profile("pmp", deadline=None)
settings.load_profile("pmp")
