data "aws_caller_identity" "this" {}

data "aws_region" "this" {}

data "aws_ssm_parameter" "kms_key_arn" {
  name = "/pmp/bootstrap/kms_key_arn"
}

data "aws_ssm_parameter" "state_bucket_name" {
  name = "/pmp/bootstrap/state_bucket_name"
}

locals {
  account_id  = data.aws_caller_identity.this.account_id
  region      = data.aws_region.this.name
  kms_key_arn = nonsensitive(data.aws_ssm_parameter.kms_key_arn.value)
  state       = nonsensitive(data.aws_ssm_parameter.state_bucket_name.value)

  # What each environment needs of this layer stands in its own variable file.
  settings_by_environment = {
    for name in var.environments : name => provider::terraform::decode_tfvars(file("${path.module}/../${name}.tfvars"))
  }
  api_by_environment     = { for name, settings in local.settings_by_environment : name => settings.service.api }
  backups_by_environment = { for name, settings in local.settings_by_environment : name => settings.foundation.database.backups if can(settings.foundation.database.backups.retention_days) }
  # A provider has one region, so all copies of an account go to one.
  copy_regions   = distinct(compact([for backups in values(local.backups_by_environment) : try(backups.copy_region, null)]))
  is_shared      = length(var.environments) > 1
  hosted_zone_id = aws_route53_zone.this.zone_id

  deployment_bucket = var.deployment_bucket != null ? var.deployment_bucket : {
    name        = one(module.artifacts[*].bucket_name)
    kms_key_arn = local.kms_key_arn
  }
  oidc_host = try(trimprefix(var.gitlab_oidc.url, "https://"), "")
}

resource "aws_route53_zone" "this" {
  # checkov:skip=CKV2_AWS_38: DNSSEC needs the parent zone's owner; see docs/adr
  # checkov:skip=CKV2_AWS_39: queries for a handful of public names are not worth a log
  name    = var.hosted_zone_name
  comment = "Names of PMP's APIs"
}

# All environments run the code of one bucket: where another account holds it, this one has none.
module "artifacts" {
  source = "../../modules/artifacts"
  count  = var.deployment_bucket == null ? 1 : 0

  account_id         = local.account_id
  region             = local.region
  kms_key_arn        = local.kms_key_arn
  reader_account_ids = var.code_reader_account_ids
}

resource "aws_iam_openid_connect_provider" "gitlab" {
  count = var.gitlab_oidc == null ? 0 : 1

  url            = var.gitlab_oidc.url
  client_id_list = [var.gitlab_oidc.audience]
}

module "delivery" {
  source   = "../../modules/delivery"
  for_each = local.api_by_environment

  environment         = each.key
  is_only_environment = !local.is_shared
  account_id          = local.account_id
  region              = local.region
  state_bucket_name   = local.state
  kms_key_arn         = local.kms_key_arn
  deployment_bucket   = merge(local.deployment_bucket, { may_publish = contains(var.publishing_environments, each.key) })
  hosted_zone_id      = local.hosted_zone_id
  domain_name         = "${each.value.subdomain}.${var.hosted_zone_name}"
  former_domain_name  = try("${each.value.former_subdomain}.${var.hosted_zone_name}", null)
  hosted_zone_roles = try({
    writer_arn = each.value.hosted_zone_role_arn
    reader_arn = each.value.hosted_zone_reader_role_arn
  }, null)
  uses_aurora             = can(local.settings_by_environment[each.key].foundation.database.aurora.max_acu)
  truststore_uri          = try(each.value.truststore.uri, null)
  enable_group            = var.enable_group
  plan_policy_arn_by_name = local.is_shared ? {} : { account = aws_iam_policy.plan_account.arn }

  gitlab_oidc = !contains(keys(try(var.gitlab_oidc.subjects_by_environment, {})), each.key) ? null : {
    provider_arn     = aws_iam_openid_connect_provider.gitlab[0].arn
    host             = local.oidc_host
    audience         = var.gitlab_oidc.audience
    deliver_subjects = var.gitlab_oidc.subjects_by_environment[each.key].deliver
    plan_subjects    = var.gitlab_oidc.subjects_by_environment[each.key].plan
  }
}

# Here and not in the foundation: who deploys the database must not be able to delete its backups.
module "backups" {
  source   = "../../modules/backups"
  for_each = local.backups_by_environment
  providers = {
    aws        = aws
    aws.copies = aws.copies
  }

  name           = "pmp-${each.key}"
  retention_days = each.value.retention_days
  lock           = try(each.value.lock, "governance")
  copy_region    = try(each.value.copy_region, null)
}

resource "aws_ssm_parameter" "this" {
  # checkov:skip=CKV2_AWS_34: names and ids for the other layers; none is a secret
  # checkov:skip=CKV_AWS_337: as above
  for_each = merge(
    {
      deployment_bucket_name = local.deployment_bucket.name
      hosted_zone_id         = local.hosted_zone_id
      hosted_zone_name       = aws_route53_zone.this.name
    },
    { for name, delivery in module.delivery : "${name}/permissions_boundary_arn" => delivery.permissions_boundary_arn },
  )

  name        = "/pmp/account/${each.key}"
  description = "From PMP's account layer"
  type        = "String"
  value       = each.value
}
