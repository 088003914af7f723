# What the account and foundation layers hand over. None of it is a secret.
data "aws_ssm_parameter" "account" {
  for_each = {
    deployment_bucket_name   = "deployment_bucket_name"
    hosted_zone_id           = "hosted_zone_id"
    hosted_zone_name         = "hosted_zone_name"
    permissions_boundary_arn = "${var.environment}/permissions_boundary_arn"
  }

  name = "/pmp/account/${each.value}"
}

data "aws_ssm_parameter" "foundation" {
  for_each = toset([
    "database_engine", "database_name", "database_proxy_host", "database_proxy_port", "database_proxy_resource_id",
    "database_reader_host", "erasure_key_secret_arn", "erasures_bucket_name", "function_security_group_id",
    "imports_bucket_name", "issuer", "kms_key_arn", "private_subnet_ids", "queue_url_by_name", "token_key_secret_arn",
    "token_url",
  ])

  name = "/pmp/${var.environment}/foundation/${each.key}"
}

# The API's clients are data, made by `python -m ops client`: tokens of all of them are accepted.
data "aws_ssm_parameters_by_path" "clients" {
  path = "/pmp/${var.environment}/clients"
}

locals {
  account    = { for name, parameter in data.aws_ssm_parameter.account : name => nonsensitive(parameter.value) }
  foundation = { for name, parameter in data.aws_ssm_parameter.foundation : name => nonsensitive(parameter.value) }
  audience   = sort(nonsensitive(data.aws_ssm_parameters_by_path.clients.values))

  queue_url_by_name = jsondecode(local.foundation["queue_url_by_name"])
}

resource "aws_ssm_parameter" "this" {
  # checkov:skip=CKV2_AWS_34: names and addresses for the pipeline's jobs; none is a secret
  # checkov:skip=CKV_AWS_337: as above
  for_each = {
    api_url       = local.api_url
    function_name = module.function.function_name
    release       = var.release
    code_sha256   = coalesce(var.code_sha256, "unknown")
  }

  name        = "/pmp/${var.environment}/service/${each.key}"
  description = "From PMP's service layer"
  type        = "String"
  value       = each.value

  # An address that is announced answers.
  depends_on = [module.api]
}
