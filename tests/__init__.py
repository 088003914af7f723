"""PMP's tests, and the runners behind the make targets that run them."""
