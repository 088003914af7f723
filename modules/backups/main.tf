# Daily backups by AWS Backup in a vault of their own, and copies of them in another region. It belongs to the account
# layer: the identity that deploys the database must not be able to delete them.
data "aws_caller_identity" "this" {}

data "aws_region" "this" {}

data "aws_region" "copies" {
  provider = aws.copies
}

locals {
  account_id = data.aws_caller_identity.this.account_id
  copies     = toset(var.copy_region[*])
  regions    = concat([data.aws_region.this.name], tolist(local.copies))
  rds        = [for region in local.regions : "arn:aws:rds:${region}:${local.account_id}"]
  is_locked  = var.lock != "none"
}

# RDS keeps the key of the instance for a snapshot, whatever the vault's key is.
# https://docs.aws.amazon.com/aws-backup/latest/devguide/encryption.html
resource "aws_backup_vault" "this" {
  # checkov:skip=CKV_AWS_166: snapshots keep the key of their database
  name = "${var.name}-backups"
}

# A copy to another region is encrypted again, under a key there.
# https://docs.aws.amazon.com/aws-backup/latest/devguide/encryption.html#copy-encryption
resource "aws_kms_key" "copies" {
  provider = aws.copies
  for_each = local.copies

  description             = "Copies of ${var.name}'s backups"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AccountDecidesByIam"
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::${local.account_id}:root" }
      Action    = "kms:*"
      Resource  = "*"
    }]
  })
}

resource "aws_kms_alias" "copies" {
  provider = aws.copies
  for_each = local.copies

  name          = "alias/${var.name}-backup-copies"
  target_key_id = aws_kms_key.copies[each.key].key_id
}

resource "aws_backup_vault" "copies" {
  provider = aws.copies
  for_each = local.copies

  name        = "${var.name}-backup-copies"
  kms_key_arn = aws_kms_key.copies[each.key].arn
}

# No backup leaves before its time, and none stays longer: erased people are in it.
# https://docs.aws.amazon.com/aws-backup/latest/devguide/vault-lock.html
resource "aws_backup_vault_lock_configuration" "this" {
  count = local.is_locked ? 1 : 0

  backup_vault_name   = aws_backup_vault.this.name
  min_retention_days  = var.retention_days
  max_retention_days  = var.retention_days
  changeable_for_days = var.lock == "compliance" ? 3 : null
}

resource "aws_backup_vault_lock_configuration" "copies" {
  provider = aws.copies
  for_each = local.is_locked ? local.copies : []

  backup_vault_name   = aws_backup_vault.copies[each.key].name
  min_retention_days  = var.retention_days
  max_retention_days  = var.retention_days
  changeable_for_days = var.lock == "compliance" ? 3 : null
}

resource "aws_backup_plan" "this" {
  name = "${var.name}-backups"

  rule {
    rule_name         = "daily"
    target_vault_name = aws_backup_vault.this.name
    # RDS starts none during its own backups (01:00 to 02:00), its maintenance (Sunday, 03:00 to 04:00) and the hour before.
    # https://docs.aws.amazon.com/aws-backup/latest/devguide/plan-options-and-configuration.html
    schedule          = "cron(0 5 * * ? *)"
    start_window      = 60
    completion_window = 720

    lifecycle {
      delete_after = var.retention_days
    }

    dynamic "copy_action" {
      for_each = aws_backup_vault.copies

      content {
        destination_vault_arn = copy_action.value.arn

        lifecycle {
          delete_after = var.retention_days
        }
      }
    }
  }
}

# By name, not by ARN: a restored database has another number at the end of its name, and is backed up as well.
resource "aws_backup_selection" "this" {
  name         = "databases"
  plan_id      = aws_backup_plan.this.id
  iam_role_arn = aws_iam_role.this.arn
  resources    = flatten([for kind in ["cluster", "db"] : ["${local.rds[0]}:${kind}:${var.name}", "${local.rds[0]}:${kind}:${var.name}-r*"]])

  # The role can do nothing before it has its policy.
  depends_on = [aws_iam_role_policy.this]
}

# Not under /pmp/: the delivery identities reach roles there.
resource "aws_iam_role" "this" {
  name        = "${var.name}-backups"
  path        = "/pmp-backups/"
  description = "Lets AWS Backup make snapshots of ${var.name}'s databases and copy them"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "backup.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

# What AWS's own policy for this service grants, for RDS only, and for this environment's databases.
# https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AWSBackupServiceRolePolicyForBackup.html
resource "aws_iam_role_policy" "this" {
  name = "back-up-databases"
  role = aws_iam_role.this.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "MakeAndCopySnapshots"
        Effect = "Allow"
        Action = [
          "rds:AddTagsToResource", "rds:CopyDBClusterSnapshot", "rds:CopyDBSnapshot", "rds:CreateDBClusterSnapshot",
          "rds:CreateDBSnapshot", "rds:ListTagsForResource",
        ]
        Resource = concat(
          [for kind in ["cluster", "db"] : "${local.rds[0]}:${kind}:${var.name}*"],
          flatten([for rds in local.rds : [for kind in ["cluster-snapshot", "snapshot"] : "${rds}:${kind}:awsbackup:*"]]),
          [for rds in local.rds : "${rds}:og:default*"],
        )
      },
      {
        Sid      = "RemoveOwnSnapshots"
        Effect   = "Allow"
        Action   = ["rds:DeleteDBClusterSnapshot", "rds:DeleteDBSnapshot", "rds:ModifyDBClusterSnapshotAttribute", "rds:ModifyDBSnapshotAttribute"]
        Resource = flatten([for rds in local.rds : [for kind in ["cluster-snapshot", "snapshot"] : "${rds}:${kind}:awsbackup:*"]])
      },
      {
        Sid      = "FindDatabases"
        Effect   = "Allow"
        Action   = ["rds:DescribeDBClusters", "rds:DescribeDBClusterSnapshots", "rds:DescribeDBInstances", "rds:DescribeDBSnapshots"]
        Resource = flatten([for rds in local.rds : [for kind in ["cluster", "cluster-snapshot", "db", "snapshot"] : "${rds}:${kind}:*"]])
      },
      {
        Sid      = "FillVaults"
        Effect   = "Allow"
        Action   = ["backup:CopyIntoBackupVault", "backup:DescribeBackupVault", "backup:TagResource"]
        Resource = concat([aws_backup_vault.this.arn], [for vault in aws_backup_vault.copies : vault.arn])
      },
      {
        Sid      = "ReadKeys"
        Effect   = "Allow"
        Action   = ["kms:DescribeKey"]
        Resource = [for region in local.regions : "arn:aws:kms:${region}:${local.account_id}:key/*"]
      },
      {
        # RDS decrypts the snapshot and encrypts its copy by grants that it gets in the role's name.
        Sid      = "LetRdsUseKeys"
        Effect   = "Allow"
        Action   = ["kms:CreateGrant"]
        Resource = [for region in local.regions : "arn:aws:kms:${region}:${local.account_id}:key/*"]
        Condition = {
          Bool         = { "kms:GrantIsForAWSResource" = "true" }
          StringEquals = { "kms:ViaService" = [for region in local.regions : "rds.${region}.amazonaws.com"] }
        }
      },
    ]
  })
}
