module "function" {
  source = "../../"

  name        = "pmp-dev"
  environment = "dev"
  code = {
    bucket_name = "pmp-deployments-123456789012-eu-west-1"
    sha256      = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    release     = "0123456789abcdef0123456789abcdef01234567"
  }

  reserved_concurrency = 20
  network = {
    subnet_ids        = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
    security_group_id = "sg-0123456789abcdef0"
  }
  database = {
    host              = "pmp-dev.proxy-abcdefghijkl.eu-west-1.rds.amazonaws.com"
    port              = 5432
    name              = "pmp"
    proxy_resource_id = "prx-0123456789abcdef0"
  }

  erasure = {
    bucket_name           = "pmp-dev-erasures-123456789012-eu-west-1"
    key_secret_arn        = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:pmp/dev/erasure-key-AbCdEf"
    backup_retention_days = 7
  }

  token_key_secret_arn     = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:pmp/dev/token-key-AbCdEf"
  api_url                  = "https://api.dev.pmp.example.com"
  token_url                = "https://pmp-dev-123456789012.auth.eu-west-1.amazoncognito.com/oauth2/token"
  imports                  = { bucket_name = "pmp-dev-imports-123456789012-eu-west-1", retention_days = 7 }
  queue_url_by_name        = { for name in ["jobs", "deliveries", "failed_events"] : name => "https://sqs.eu-west-1.amazonaws.com/123456789012/pmp-dev-${replace(name, "_", "-")}" }
  schedules                = { refresh_vendors = "rate(1 hour)" }
  kms_key_arn              = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  permissions_boundary_arn = "arn:aws:iam::123456789012:policy/pmp/pmp-dev-boundary"
}
