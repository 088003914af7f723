# The identities that GitLab deploys and plans one environment as, and what bounds them. Applied by an administrator: the
# identities cannot change anything in here.

locals {
  iam_path = "/pmp/"
  # In an account of its own, the environment's identity does without its name.
  name      = var.is_only_environment ? "gitlab" : "gitlab-${var.environment}"
  plan_name = var.is_only_environment ? "gitlab-plan" : "gitlab-plan-${var.environment}"
  arn = {
    iam     = "arn:aws:iam::${var.account_id}"
    prefix  = { for service in ["acm", "apigateway", "autoscaling", "cloudwatch", "cognito-idp", "ec2", "kms", "lambda", "logs", "rds", "rds-db", "route53resolver", "scheduler", "secretsmanager", "sns", "sqs", "ssm"] : service => "arn:aws:${service}:${var.region}:${var.account_id}" }
    state   = "arn:aws:s3:::${var.state_bucket_name}"
    deploys = "arn:aws:s3:::${var.deployment_bucket.name}"
  }
  plan_policy_arns = merge(
    { for concern, policy in aws_iam_policy.plan : concern => policy.arn },
    var.plan_policy_arn_by_name,
  )
  boundary_arn = "${local.arn.iam}:policy${local.iam_path}${local.prefix}-boundary"
}

resource "aws_iam_user" "gitlab" {
  # checkov:skip=CKV_AWS_273: an IAM user was asked for; the same policies serve an OIDC role (gitlab_oidc) by one input
  name = local.name
  path = local.iam_path
}

resource "aws_iam_user_policy_attachment" "gitlab" {
  # checkov:skip=CKV_AWS_40: attached to the user itself, as was asked; enable_group makes the group that IAM.2 prefers
  for_each = aws_iam_policy.delivery

  user       = aws_iam_user.gitlab.name
  policy_arn = each.value.arn
}

# Plans merge requests: reads metadata, changes nothing.
resource "aws_iam_user" "plan" {
  # checkov:skip=CKV_AWS_273: as for the user gitlab
  name = local.plan_name
  path = local.iam_path
}

resource "aws_iam_user_policy_attachment" "plan" {
  # checkov:skip=CKV_AWS_40: as for the user gitlab
  for_each = local.plan_policy_arns

  user       = aws_iam_user.plan.name
  policy_arn = each.value
}

resource "aws_iam_group" "this" {
  count = var.enable_group ? 1 : 0

  name = "${local.prefix}-delivery"
  path = local.iam_path
}

resource "aws_iam_group_policy_attachment" "this" {
  for_each = { for concern, policy in aws_iam_policy.delivery : concern => policy.arn if var.enable_group }

  group      = aws_iam_group.this[0].name
  policy_arn = each.value
}

resource "aws_iam_policy" "delivery" {
  for_each = local.delivery_statements

  name        = "${local.prefix}-${each.key}"
  path        = local.iam_path
  description = "What deploying PMP in ${var.environment} needs: ${each.key}"
  policy      = jsonencode({ Version = "2012-10-17", Statement = each.value })

  lifecycle {
    precondition {
      condition     = length(jsonencode({ Version = "2012-10-17", Statement = each.value })) < 6144
      error_message = "The policy ${each.key} is longer than IAM's 6,144 characters: split the concern."
    }
  }
}

resource "aws_iam_policy" "plan" {
  for_each = local.plan_statements

  name        = "${local.prefix}-plan-${each.key}"
  path        = local.iam_path
  description = "What planning a change of PMP in ${var.environment} needs: ${each.key}"
  policy      = jsonencode({ Version = "2012-10-17", Statement = each.value })

  lifecycle {
    precondition {
      condition     = length(jsonencode({ Version = "2012-10-17", Statement = each.value })) < 6144
      error_message = "The policy ${each.key} is longer than IAM's 6,144 characters: split the concern."
    }
  }
}
