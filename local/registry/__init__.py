"""A Terraform module registry on loopback, for networks that cannot reach registry.terraform.io."""
