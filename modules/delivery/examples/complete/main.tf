# An environment of a shared account, whose jobs deploy with short-lived credentials as well.
module "delivery" {
  source = "../../"

  environment       = "dev"
  account_id        = "123456789012"
  region            = "eu-west-1"
  state_bucket_name = "pmp-terraform-state-123456789012-eu-west-1"
  kms_key_arn       = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  hosted_zone_id    = "Z0123456789ABCDEFGHIJ"
  domain_name       = "api.dev.pmp.example.com"
  enable_group      = true

  deployment_bucket = {
    name        = "pmp-deployments-123456789012-eu-west-1"
    kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    may_publish = true
  }

  gitlab_oidc = {
    provider_arn     = "arn:aws:iam::123456789012:oidc-provider/gitlab.com"
    host             = "gitlab.com"
    audience         = "https://gitlab.com"
    deliver_subjects = ["project_path:example/pmp:ref_type:branch:ref:main"]
    plan_subjects    = ["project_path:example/pmp:ref_type:branch:ref:*"]
  }
}

# The same permissions for another principal: one line.
resource "aws_iam_role_policy_attachment" "release_manager" {
  for_each = module.delivery.policy_arn_by_concern

  role       = "release-manager"
  policy_arn = each.value
}
