# Reads what this layer makes, so that a nightly plan shows what somebody changed by hand. In an account of one environment
# its plan identity carries the policy. In a shared account that would show it other environments' policies, so an
# identity of its own does.
resource "aws_iam_policy" "plan_account" {
  name        = "pmp-plan-account"
  path        = "/pmp/"
  description = "What planning PMP's account layer needs"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid       = "FindAccountState"
        Effect    = "Allow"
        Action    = ["s3:ListBucket"]
        Resource  = "arn:aws:s3:::${local.state}"
        Condition = { StringEquals = { "s3:prefix" = ["account/", "account.tfstate"] } }
      },
      {
        Sid      = "ReadAccountState"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = "arn:aws:s3:::${local.state}/account.tfstate"
      },
      {
        Sid       = "ReadAccountStateUnderItsKey"
        Effect    = "Allow"
        Action    = ["kms:Decrypt"]
        Resource  = local.kms_key_arn
        Condition = { StringEquals = { "kms:ViaService" = "s3.${local.region}.amazonaws.com" } }
      },
      {
        Sid    = "ReadDelivery"
        Effect = "Allow"
        Action = ["iam:GetPolicy", "iam:GetPolicyVersion", "iam:GetUser", "iam:ListAttachedUserPolicies"]
        Resource = [
          "arn:aws:iam::${local.account_id}:policy/pmp/pmp-*", "arn:aws:iam::${local.account_id}:user/pmp/gitlab*",
        ]
      },
      {
        Sid    = "ReadDeliveryByOtherPrincipals"
        Effect = "Allow"
        Action = [
          "iam:GetGroup", "iam:GetOpenIDConnectProvider", "iam:GetRole", "iam:ListAttachedGroupPolicies",
          "iam:ListAttachedRolePolicies", "iam:ListRolePolicies",
        ]
        Resource = [
          "arn:aws:iam::${local.account_id}:group/pmp/pmp-*", "arn:aws:iam::${local.account_id}:oidc-provider/*",
          "arn:aws:iam::${local.account_id}:role/pmp/gitlab*",
        ]
      },
      {
        Sid    = "ReadDeploymentBucket"
        Effect = "Allow"
        Action = [
          "s3:GetAccelerateConfiguration", "s3:GetBucketAcl", "s3:GetBucketCORS", "s3:GetBucketLogging",
          "s3:GetBucketObjectLockConfiguration", "s3:GetBucketOwnershipControls", "s3:GetBucketPolicy",
          "s3:GetBucketPublicAccessBlock", "s3:GetBucketRequestPayment", "s3:GetBucketTagging", "s3:GetBucketVersioning",
          "s3:GetBucketWebsite", "s3:GetEncryptionConfiguration", "s3:GetLifecycleConfiguration",
          "s3:GetReplicationConfiguration", "s3:ListBucket",
        ]
        Resource = "arn:aws:s3:::${local.deployment_bucket.name}"
      },
      {
        Sid      = "ReadHostedZone"
        Effect   = "Allow"
        Action   = ["route53:GetHostedZone", "route53:ListTagsForResource"]
        Resource = "arn:aws:route53:::hostedzone/${local.hosted_zone_id}"
      },
      {
        Sid    = "ReadHandOverOfAccount"
        Effect = "Allow"
        Action = ["ssm:GetParameter", "ssm:ListTagsForResource"]
        Resource = [
          for layer in ["account", "bootstrap"] : "arn:aws:ssm:${local.region}:${local.account_id}:parameter/pmp/${layer}/*"
        ]
      },
      {
        Sid      = "ListParametersOfAccount"
        Effect   = "Allow"
        Action   = ["ssm:DescribeParameters"]
        Resource = "*"
      },
    ], [for statement in local.reads_backups : statement if length(local.backups_by_environment) > 0])
  })
}

locals {
  backup_regions = concat([local.region], local.copy_regions)
  reads_backups = [
    {
      Sid    = "ReadBackups"
      Effect = "Allow"
      Action = ["backup:DescribeBackupVault", "backup:GetBackupPlan", "backup:GetBackupSelection", "backup:ListTags"]
      Resource = flatten([for region in local.backup_regions : [
        for kind in ["backup-plan", "backup-vault"] : "arn:aws:backup:${region}:${local.account_id}:${kind}:*"
      ]])
    },
    {
      Sid      = "ReadRolesOfBackups"
      Effect   = "Allow"
      Action   = ["iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies"]
      Resource = "arn:aws:iam::${local.account_id}:role/pmp-backups/pmp-*"
    },
    {
      Sid      = "ReadKeysOfCopies"
      Effect   = "Allow"
      Action   = ["kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListResourceTags"]
      Resource = [for region in local.backup_regions : "arn:aws:kms:${region}:${local.account_id}:key/*"]
    },
    {
      # This action has no resource types.
      Sid      = "ListKeyNamesOfCopies"
      Effect   = "Allow"
      Action   = ["kms:ListAliases"]
      Resource = "*"
    },
  ]
}

resource "aws_iam_user" "plan_account" {
  # checkov:skip=CKV_AWS_273: as for the user gitlab in modules/delivery
  count = local.is_shared ? 1 : 0

  name = "gitlab-plan-account"
  path = "/pmp/"
}

resource "aws_iam_user_policy_attachment" "plan_account" {
  # checkov:skip=CKV_AWS_40: as for the user gitlab in modules/delivery
  count = local.is_shared ? 1 : 0

  user       = aws_iam_user.plan_account[0].name
  policy_arn = aws_iam_policy.plan_account.arn
}

resource "aws_iam_role" "plan_account" {
  count = local.is_shared && length(try(var.gitlab_oidc.account_plan_subjects, [])) > 0 ? 1 : 0

  name                 = "gitlab-plan-account"
  path                 = "/pmp/"
  max_session_duration = 3600
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = aws_iam_openid_connect_provider.gitlab[0].arn }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = { "${local.oidc_host}:aud" = var.gitlab_oidc.audience }
        StringLike   = { "${local.oidc_host}:sub" = var.gitlab_oidc.account_plan_subjects }
      }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "plan_account" {
  count = length(aws_iam_role.plan_account)

  role       = aws_iam_role.plan_account[0].name
  policy_arn = aws_iam_policy.plan_account.arn
}
