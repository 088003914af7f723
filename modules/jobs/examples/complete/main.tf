module "jobs" {
  source = "../../"

  name                 = "pmp-dev"
  retention_days       = 7
  enable_force_destroy = true
  timeout_seconds      = 300
  kms_key_arn          = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
}
