# What planning needs: to read, and to take and release the state's lock.

locals {
  # Reads that hand out what a plan has no use for.
  not_for_plans = ["s3:GetObject", "s3:ListBucketVersions", "ssm:GetParameters"]

  plan_statements = {
    state = concat(
      [for statement in local.delivery_statements.state : statement if contains(["FindStates", "ReadStates", "LockStates", "UseStateKeyThroughS3", "ReadAccountLayer", "ListParameters"], statement.Sid)],
      [{
        Sid      = "ReadHandOver"
        Effect   = "Allow"
        Action   = ["ssm:GetParameter", "ssm:GetParametersByPath", "ssm:ListTagsForResource"]
        Resource = [for environment in var.environments : "${local.arn.prefix.ssm}:parameter/pmp/${environment}/*"]
      }],
    )
    # The same reads, on the same resources, as the delivery identity has.
    read-foundation = concat(
      flatten([for concern in ["network", "database", "runner"] : local.plan_reads[concern]]),
      # The provider refreshes a secret's version by reading it.
      [for statement in local.delivery_statements.database : merge(statement, { Action = ["kms:Decrypt"] }) if statement.Sid == "ReadSecretsUnderOwnKeys"],
    )
    read-service = flatten([for concern in ["monitoring", "service", "iam"] : local.plan_reads[concern]])
    # Whether somebody changed by hand what an administrator applied: this module, and the hosted zone.
    read-account = [
      {
        Sid      = "ReadAccountState"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = "${local.arn.state}/account.tfstate"
      },
      {
        Sid      = "ReadDelivery"
        Effect   = "Allow"
        Action   = ["iam:GetPolicy", "iam:GetPolicyVersion", "iam:GetUser", "iam:ListAttachedUserPolicies"]
        Resource = ["${local.arn.iam}:policy${local.iam_path}pmp-*", "${local.arn.iam}:user${local.iam_path}gitlab*"]
      },
      {
        Sid    = "ReadDeliveryByOtherPrincipals"
        Effect = "Allow"
        Action = [
          "iam:GetGroup", "iam:GetOpenIDConnectProvider", "iam:GetRole", "iam:ListAttachedGroupPolicies",
          "iam:ListAttachedRolePolicies", "iam:ListRolePolicies",
        ]
        Resource = [
          "${local.arn.iam}:group${local.iam_path}pmp-*", "${local.arn.iam}:oidc-provider/*",
          "${local.arn.iam}:role${local.iam_path}gitlab-*",
        ]
      },
      {
        Sid      = "ReadDeploymentBucket"
        Effect   = "Allow"
        Action   = one([for statement in local.plan_reads.service : statement.Action if statement.Sid == "KeepImportBuckets"])
        Resource = local.arn.deploys
      },
      {
        Sid      = "ReadTagsOfAccountLayer"
        Effect   = "Allow"
        Action   = ["route53:ListTagsForResource", "ssm:ListTagsForResource"]
        Resource = ["arn:aws:route53:::hostedzone/${var.hosted_zone_id}", "${local.arn.prefix.ssm}:parameter/pmp/account/*"]
      },
    ]
  }

  plan_reads = {
    for concern, statements in local.delivery_statements : concern => [
      for statement in statements : {
        Sid      = statement.Sid
        Effect   = "Allow"
        Resource = statement.Resource
        Action = [
          for action in statement.Action : action
          if can(regex(":(Describe|Get|List|GET$)", action)) && !contains(local.not_for_plans, action)
        ]
        } if statement.Sid != "UseMasterSecret" && length([
          for action in try(statement.Action, []) : action
          if statement.Effect == "Allow" && can(regex(":(Describe|Get|List|GET$)", action)) && !contains(local.not_for_plans, action)
      ]) > 0
    ] if contains(["network", "database", "runner", "monitoring", "service", "iam"], concern)
  }
}
