# What watches the database and its backups. The service layer watches its own, and draws the dashboard of both.
module "alarms" {
  source = "../../modules/alarms"

  name                  = local.name
  topic_arn_by_severity = { for severity, topic in aws_sns_topic.this : severity => topic.arn }
  runbook_url           = var.foundation.alarms.runbook_url

  database = {
    identifier             = module.database.database_identifier
    proxy_name             = module.database.proxy_name
    vcpu                   = module.sizing.vcpu
    is_burstable           = module.sizing.is_burstable
    largest_credit_balance = module.sizing.cpu_credits.largest_balance
    memory_gib             = module.sizing.memory_gib
    storage_gib            = local.is_aurora ? null : var.foundation.database.storage_gib.initial
    cluster                = local.is_aurora ? { has_readers = var.foundation.database.aurora.readers > 0 } : null
    max_connections        = module.sizing.max_connections
    pool_size              = module.sizing.pool_size
  }

  # The account layer makes these vaults (modules/backups) but has no topics: they belong to the environment.
  backups = var.foundation.database.backups == null ? null : {
    vault_name        = "${local.name}-backups"
    copies_vault_name = var.foundation.database.backups.copy_region == null ? null : "${local.name}-backup-copies"
  }

  # An alarm that fires before its topic takes messages is lost.
  depends_on = [aws_sns_topic_policy.this]
}
