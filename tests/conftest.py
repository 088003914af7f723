"""For all tests."""

import signal

# A job in a shell's background ignores SIGINT, and so would every program that a test starts to interrupt it.
signal.signal(signal.SIGINT, signal.default_int_handler)
