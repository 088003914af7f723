# GitLab's jobs without long-lived keys: the same policies, carried by roles that a job's id_token may assume.
locals {
  subjects_by_role = {
    for name, subjects in {
      (local.name)      = try(var.gitlab_oidc.deliver_subjects, [])
      (local.plan_name) = try(var.gitlab_oidc.plan_subjects, [])
    } : name => subjects if length(subjects) > 0
  }
}

resource "aws_iam_role" "gitlab" {
  for_each = local.subjects_by_role

  name                 = each.key
  path                 = local.iam_path
  max_session_duration = 3600
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = var.gitlab_oidc.provider_arn }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = { "${var.gitlab_oidc.host}:aud" = var.gitlab_oidc.audience }
        StringLike   = { "${var.gitlab_oidc.host}:sub" = each.value }
      }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "gitlab_delivery" {
  for_each = { for concern, policy in aws_iam_policy.delivery : concern => policy.arn if contains(keys(local.subjects_by_role), local.name) }

  role       = aws_iam_role.gitlab[local.name].name
  policy_arn = each.value
}

resource "aws_iam_role_policy_attachment" "gitlab_plan" {
  for_each = { for concern, arn in local.plan_policy_arns : concern => arn if contains(keys(local.subjects_by_role), local.plan_name) }

  role       = aws_iam_role.gitlab[local.plan_name].name
  policy_arn = each.value
}
