# Runs the environment's migration jobs next to its database.
locals {
  # One list of Debian packages for the laptop, the image of the jobs and this runner.
  runner_packages = [
    for line in regexall("(?m)^([a-z0-9][^\\s]*)\\s+([a-z,]+)\\s", file("${path.module}/../../ops/packages.txt")) : line[0]
    if contains(split(",", line[1]), "runner")
  ]
}

module "runner" {
  count  = var.foundation.runner.enable ? 1 : 0
  source = "../../modules/runner"

  name                     = local.name
  environment              = var.environment
  gitlab_url               = var.foundation.runner.gitlab_url
  instance_type            = var.foundation.runner.instance_type
  packages                 = local.runner_packages
  downloads                = var.foundation.runner.downloads
  subnet_ids               = module.network.private_subnet_ids
  security_group_id        = module.network.security_group_id_by_role["runner"]
  kms_key_arn              = aws_kms_key.this.arn
  permissions_boundary_arn = local.permissions_boundary_arn
}
