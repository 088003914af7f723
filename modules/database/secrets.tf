# Empty secrets of the two roles that log in with a password. The migration job makes the passwords, next to the database:
# none passes through Terraform, its state, a plan, or the identity that plans.
resource "aws_secretsmanager_secret" "this" {
  # checkov:skip=CKV2_AWS_57: rotated by the migration job, which changes role and secret together
  for_each = toset(["pmp_app", "pmp_migrator"])

  name                    = "pmp/${var.environment}/database/${each.value}"
  description             = "Login of the database role ${each.value}"
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.enable_protection ? 30 : 0
}
