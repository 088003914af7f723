# Passwords of the two roles that log in with one. They pass from the caller's ephemeral values to a write-only argument,
# so they are in no plan and no state; the migration job reads the secrets and gives the roles these passwords.
locals {
  roles = toset(["pmp_app", "pmp_migrator"])
}

resource "aws_secretsmanager_secret" "this" {
  # checkov:skip=CKV2_AWS_57: rotated by raising password_version; the migration job changes role and secret together
  for_each = local.roles

  name                    = "pmp/${var.environment}/database/${each.value}"
  description             = "Login of the database role ${each.value}"
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.enable_protection ? 30 : 0
}

resource "aws_secretsmanager_secret_version" "this" {
  for_each = local.roles

  secret_id                = aws_secretsmanager_secret.this[each.value].id
  secret_string_wo_version = var.password_version
  secret_string_wo = jsonencode({
    username = each.value
    password = var.password_by_role[each.value]
  })
}
