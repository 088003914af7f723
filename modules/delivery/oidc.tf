# GitLab's jobs without long-lived keys: the same policies, carried by roles that a job's id_token may assume.
resource "aws_iam_openid_connect_provider" "gitlab" {
  count = var.gitlab_oidc == null ? 0 : 1

  url            = var.gitlab_oidc.url
  client_id_list = [var.gitlab_oidc.audience]
}

locals {
  oidc_host = try(trimprefix(var.gitlab_oidc.url, "https://"), "")
  oidc_roles = {
    for name, subjects in {
      gitlab-delivery = try(var.gitlab_oidc.deliver_subjects, [])
      gitlab-plan     = try(var.gitlab_oidc.plan_subjects, [])
    } : name => subjects if length(subjects) > 0
  }
}

resource "aws_iam_role" "gitlab" {
  for_each = local.oidc_roles

  name                 = each.key
  path                 = local.iam_path
  max_session_duration = 3600
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = aws_iam_openid_connect_provider.gitlab[0].arn }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = { "${local.oidc_host}:aud" = var.gitlab_oidc.audience }
        StringLike   = { "${local.oidc_host}:sub" = each.value }
      }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "gitlab_delivery" {
  for_each = { for concern, policy in aws_iam_policy.delivery : concern => policy.arn if contains(keys(local.oidc_roles), "gitlab-delivery") }

  role       = aws_iam_role.gitlab["gitlab-delivery"].name
  policy_arn = each.value
}

resource "aws_iam_role_policy_attachment" "gitlab_plan" {
  for_each = { for concern, policy in aws_iam_policy.plan : concern => policy.arn if contains(keys(local.oidc_roles), "gitlab-plan") }

  role       = aws_iam_role.gitlab["gitlab-plan"].name
  policy_arn = each.value
}
