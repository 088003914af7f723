# What the service layer, the migration job and the smoke test learn of this layer.
locals {
  parameters = {
    vpc_id                       = module.network.vpc_id
    private_subnet_ids           = join(",", module.network.private_subnet_ids)
    function_security_group_id   = module.network.security_group_id_by_role["function"]
    runner_security_group_id     = module.network.security_group_id_by_role["runner"]
    database_identifier          = module.database.database_identifier
    database_name                = module.database.database_name
    database_host                = coalesce(try(var.platform.database_host, null), module.database.database_host)
    database_port                = coalesce(try(var.platform.database_port, null), module.database.database_port)
    database_master_secret_arn   = module.database.master_secret_arn
    database_app_secret_arn      = module.database.secret_arn_by_role["pmp_app"]
    database_migrator_secret_arn = module.database.secret_arn_by_role["pmp_migrator"]
    database_proxy_name          = module.database.proxy_name
    database_proxy_host          = coalesce(try(var.platform.database_proxy_host, null), module.database.proxy_host)
    database_proxy_port          = coalesce(try(var.platform.database_proxy_port, null), module.database.database_port)
    database_engine              = module.database.engine
    database_reader_host         = coalesce(try(var.platform.database_reader_host, null), try(var.platform.database_proxy_host, null), module.database.reader_host)
    database_proxy_resource_id   = module.database.proxy_resource_id
    user_pool_id                 = module.identity.user_pool_id
    issuer                       = module.identity.issuer
    token_url                    = module.identity.token_url
    kms_key_arn                  = aws_kms_key.this.arn
    imports_bucket_name          = module.jobs.bucket_name
    queue_url_by_name            = jsonencode(module.jobs.queue_url_by_name)
    erasures_bucket_name         = aws_s3_bucket.erasures.id
    erasure_key_secret_arn       = aws_secretsmanager_secret.erasure_key.arn
    token_key_secret_arn         = aws_secretsmanager_secret.token_key.arn
    alarm_threshold_by_name      = jsonencode(module.alarms.threshold_by_name)
    alarm_topic_arn_by_severity  = jsonencode({ for severity, topic in aws_sns_topic.this : severity => topic.arn })
  }
}

resource "aws_ssm_parameter" "this" {
  # checkov:skip=CKV2_AWS_34: names, addresses and ids; the secrets they lead to are in Secrets Manager
  # checkov:skip=CKV_AWS_337: as above
  for_each = local.parameters

  name        = "/pmp/${var.environment}/foundation/${each.key}"
  description = "From PMP's foundation layer"
  type        = each.key == "private_subnet_ids" ? "StringList" : "String"
  value       = each.value
}
