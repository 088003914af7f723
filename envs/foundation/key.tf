# One key for the environment's data: database, secrets, logs, alarms and imported files. A key per service would cost
# more and separate nothing: the same identities use all of them.
locals {
  # By name, as the identity exists before this key does, and a principal that is named by ARN has to exist.
  delivery_only = {
    StringEquals = { "kms:CallerAccount" = local.account_id }
    ArnLike = { "aws:PrincipalArn" = [
      for principal in ["user/pmp/gitlab", "user/pmp/gitlab-${var.environment}", "role/pmp/gitlab", "role/pmp/gitlab-${var.environment}"] :
      "arn:aws:iam::${local.account_id}:${principal}"
    ] }
  }
}

resource "aws_kms_key" "this" {
  description             = "Data of PMP in ${var.environment}"
  enable_key_rotation     = true
  deletion_window_in_days = var.foundation.database.enable_protection ? 30 : 7

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # Makes IAM policies decide: without it a mistake in this document could lock everyone out for good.
        Sid       = "AccountDecidesByIam"
        Effect    = "Allow"
        Principal = { AWS = "arn:aws:iam::${local.account_id}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Sid       = "LogGroupsOfThisAccount"
        Effect    = "Allow"
        Principal = { Service = "logs.${local.region}.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
        Resource  = "*"
        Condition = { ArnLike = { "kms:EncryptionContext:aws:logs:arn" = "arn:aws:logs:${local.region}:${local.account_id}:log-group:*" } }
      },
      {
        Sid       = "AlarmsToEncryptedTopics"
        Effect    = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
      },
      {
        # A new key's tags may take five minutes to count, and IAM lets the deploying identity use keys by their tag. So the
        # key itself lets it through where it makes the key and what is encrypted under it.
        # https://docs.aws.amazon.com/kms/latest/developerguide/abac.html
        Sid       = "DeliverySetsUpKey"
        Effect    = "Allow"
        Principal = { AWS = "*" }
        Action = [
          "kms:CreateAlias", "kms:DescribeKey", "kms:EnableKeyRotation", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus",
          "kms:ListResourceTags", "kms:PutKeyPolicy",
        ]
        Resource  = "*"
        Condition = local.delivery_only
      },
      {
        Sid       = "DeliveryThroughServices"
        Effect    = "Allow"
        Principal = { AWS = "*" }
        Action    = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"]
        Resource  = "*"
        Condition = merge(local.delivery_only, { StringEquals = merge(local.delivery_only.StringEquals, {
          "kms:ViaService" = [for service in ["rds", "secretsmanager"] : "${service}.${local.region}.amazonaws.com"]
        }) })
      },
      {
        # RDS keeps a grant for its storage; no one but a service gets one.
        Sid       = "DeliveryGrantsToServices"
        Effect    = "Allow"
        Principal = { AWS = "*" }
        Action    = "kms:CreateGrant"
        Resource  = "*"
        Condition = merge(local.delivery_only, { Bool = { "kms:GrantIsForAWSResource" = "true" } })
      },
      {
        # As the policy of AWS's own key for disks: an autoscaling group starts instances as AWS's role, which IAM policies
        # of this account do not reach, and which does not exist before the first group does.
        Sid       = "DisksOfThisAccount"
        Effect    = "Allow"
        Principal = { AWS = "*" }
        Action    = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
        Resource  = "*"
        Condition = { StringEquals = {
          "kms:CallerAccount" = local.account_id
          "kms:ViaService"    = "ec2.${local.region}.amazonaws.com"
        } }
      },
    ]
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/${local.name}"
  target_key_id = aws_kms_key.this.key_id
}
