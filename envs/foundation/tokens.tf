# The keys that sign users' own tokens (docs/adr/0111). Empty: the migration job makes the first one, and
# `python -m ops rotate-token-key` replaces it by one that accepts the tokens of the old one.
resource "aws_secretsmanager_secret" "token_key" {
  # checkov:skip=CKV2_AWS_57: rotated by the command above, because a rotation ends the tokens of the key before the last
  name                    = "pmp/${var.environment}/token-key"
  description             = "Keys that sign the tokens of users"
  kms_key_id              = aws_kms_key.this.arn
  recovery_window_in_days = var.foundation.database.enable_protection ? 30 : 0
}
