data "aws_caller_identity" "this" {}

data "aws_region" "this" {}

data "aws_ssm_parameter" "kms_key_arn" {
  name = "/pmp/bootstrap/kms_key_arn"
}

data "aws_ssm_parameter" "state_bucket_name" {
  name = "/pmp/bootstrap/state_bucket_name"
}

resource "aws_route53_zone" "this" {
  # checkov:skip=CKV2_AWS_38: DNSSEC needs the parent zone's owner; see docs/adr
  # checkov:skip=CKV2_AWS_39: queries for a handful of public names are not worth a log
  name    = var.hosted_zone_name
  comment = "Names of PMP's APIs"
}

module "delivery" {
  source = "../../modules/delivery"

  account_id            = data.aws_caller_identity.this.account_id
  region                = data.aws_region.this.name
  environments          = coalesce(var.environments, toset(jsondecode(file("${path.module}/../environments.json")).promoted))
  state_bucket_name     = nonsensitive(data.aws_ssm_parameter.state_bucket_name.value)
  kms_key_arn           = nonsensitive(data.aws_ssm_parameter.kms_key_arn.value)
  hosted_zone_id        = aws_route53_zone.this.zone_id
  hosted_zone_role_arns = var.hosted_zone_role_arns
  truststore_arns       = var.truststore_arns
  gitlab_oidc           = var.gitlab_oidc
  enable_group          = var.enable_group
}

resource "aws_ssm_parameter" "this" {
  # checkov:skip=CKV2_AWS_34: names and ids for the other layers; none is a secret
  # checkov:skip=CKV_AWS_337: as above
  for_each = {
    deployment_bucket_name   = module.delivery.deployment_bucket_name
    hosted_zone_id           = aws_route53_zone.this.zone_id
    hosted_zone_name         = aws_route53_zone.this.name
    permissions_boundary_arn = module.delivery.permissions_boundary_arn
  }

  name        = "/pmp/account/${each.key}"
  description = "From PMP's account layer"
  type        = "String"
  value       = each.value
}
