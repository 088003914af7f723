"""MiniStack, the emulated AWS account, with the laptop platform's additions."""
