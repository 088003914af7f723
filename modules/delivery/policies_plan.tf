# What planning needs: to read metadata. It takes no lock (plans run with -lock=false), and reads no secret: the code that
# a merge request plans with is the merge request's own.

locals {
  # Reads that hand out what a plan has no use for: secrets (an OAuth client's description holds its secret), objects.
  not_for_plans = [
    "cognito-idp:DescribeUserPoolClient", "s3:GetObject", "s3:GetObjectVersion", "s3:ListBucketVersions",
    "secretsmanager:GetSecretValue", "ssm:GetParameters",
  ]

  plan_statements = {
    state = concat(
      [for statement in local.delivery_statements.state : statement if contains(["FindStates", "ReadStates", "ReadAccountLayer", "ListParameters"], statement.Sid)],
      [{
        Sid       = "ReadUnderStateKeyThroughS3"
        Effect    = "Allow"
        Action    = ["kms:Decrypt"]
        Resource  = var.kms_key_arn
        Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
        }, {
        Sid      = "ReadHandOver"
        Effect   = "Allow"
        Action   = ["ssm:GetParameter", "ssm:GetParametersByPath", "ssm:ListTagsForResource"]
        Resource = [for environment in var.environments : "${local.arn.prefix.ssm}:parameter/pmp/${environment}/*"]
      }],
    )
    # The same reads, on the same resources, as the delivery identity has.
    read-foundation = flatten([for concern in ["network", "database", "dns", "runner"] : local.plan_reads[concern]])
    read-service    = flatten([for concern in ["monitoring", "service", "iam"] : local.plan_reads[concern]])
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
    ] if contains(["network", "database", "dns", "runner", "monitoring", "service", "iam"], concern)
  }
}
