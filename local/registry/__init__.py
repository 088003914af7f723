"""A Terraform module registry on loopback, for networks that do not reach the real one."""
