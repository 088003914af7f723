# One key for the environment's data: database, secrets, logs, alarms and imported files. A key per service would cost
# more and separate nothing: the same identities use all of them.
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
