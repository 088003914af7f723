"""Settings for all tests."""

import signal

# A background job of a shell ignores SIGINT, and so would the programs that tests start in order to interrupt them.
signal.signal(signal.SIGINT, signal.default_int_handler)
