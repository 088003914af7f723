# GitLab deploys with short-lived credentials as well: jobs of the protected branches of one project.
module "delivery" {
  source = "../../"

  account_id        = "123456789012"
  region            = "eu-west-1"
  environments      = ["dev", "staging", "prod"]
  state_bucket_name = "pmp-terraform-state-123456789012-eu-west-1"
  kms_key_arn       = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  hosted_zone_id    = "Z0123456789ABCDEFGHIJ"
  enable_group      = true

  gitlab_oidc = {
    url              = "https://gitlab.com"
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
