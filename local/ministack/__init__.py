"""MiniStack, the emulated AWS account, with what the laptop platform adds to it."""
