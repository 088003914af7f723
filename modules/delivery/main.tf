# The deployment bucket, the identity that GitLab deploys as, and what bounds it. Applied by an administrator: the
# identity cannot change anything in here.

locals {
  iam_path = "/pmp/"
  arn = {
    iam     = "arn:aws:iam::${var.account_id}"
    prefix  = { for service in ["acm", "apigateway", "autoscaling", "cloudwatch", "cognito-idp", "ec2", "kms", "lambda", "logs", "rds", "rds-db", "route53resolver", "scheduler", "secretsmanager", "sns", "sqs", "ssm"] : service => "arn:aws:${service}:${var.region}:${var.account_id}" }
    state   = "arn:aws:s3:::${var.state_bucket_name}"
    deploys = "arn:aws:s3:::${local.deployment_bucket_name}"
  }
  boundary_arn = "${local.arn.iam}:policy${local.iam_path}pmp-boundary"
}

resource "aws_iam_user" "gitlab" {
  # checkov:skip=CKV_AWS_273: an IAM user was asked for; the same policies serve an OIDC role (gitlab_oidc) by one input
  name = "gitlab"
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
  name = "gitlab-plan"
  path = local.iam_path
}

resource "aws_iam_user_policy_attachment" "plan" {
  # checkov:skip=CKV_AWS_40: as for the user gitlab
  for_each = aws_iam_policy.plan

  user       = aws_iam_user.plan.name
  policy_arn = each.value.arn
}

resource "aws_iam_group" "this" {
  count = var.enable_group ? 1 : 0

  name = "pmp-delivery"
  path = local.iam_path
}

resource "aws_iam_group_policy_attachment" "this" {
  for_each = { for concern, policy in aws_iam_policy.delivery : concern => policy.arn if var.enable_group }

  group      = aws_iam_group.this[0].name
  policy_arn = each.value
}

resource "aws_iam_policy" "delivery" {
  for_each = local.delivery_statements

  name        = "pmp-delivery-${each.key}"
  path        = local.iam_path
  description = "What the delivery of PMP needs: ${each.key}"
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

  name        = "pmp-plan-${each.key}"
  path        = local.iam_path
  description = "What planning a change of PMP needs: ${each.key}"
  policy      = jsonencode({ Version = "2012-10-17", Statement = each.value })

  lifecycle {
    precondition {
      condition     = length(jsonencode({ Version = "2012-10-17", Statement = each.value })) < 6144
      error_message = "The policy ${each.key} is longer than IAM's 6,144 characters: split the concern."
    }
  }
}
