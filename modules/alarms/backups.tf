# AWS Backup's jobs, by their vaults. EventBridge tells of them as well, but as best effort, and says nothing of a backup that
# was never asked for; a metric that stays away rings as soon as missing data count as bad.
# https://docs.aws.amazon.com/aws-backup/latest/devguide/cloudwatch.html: a metric has a value only when it is not zero, and
# the vault of a copy job is its destination. That page does not say in which region a copy job counts: jobs belong to the
# region of their backup (DescribeCopyJob), and if this were wrong, backup-copies-missing would ring from the first day.
locals {
  backups       = coalesce(var.backups, { vault_name = "", copies_vault_name = null })
  backup_common = { namespace = "AWS/Backup", statistic = "Sum" }
  of_backups    = merge(local.backup_common, { dimensions = { BackupVaultName = local.backups.vault_name } })
  of_copies     = merge(local.backup_common, { dimensions = { BackupVaultName = coalesce(local.backups.copies_vault_name, "none") } })

  backup_alarms = merge(
    { for key, alarm in {
      backup-jobs-failed = {
        severity = "warning"
        metric   = "NumberOfBackupJobsFailed"
        # Cancelled by somebody, or not begun within the plan's start window.
        plus    = ["NumberOfBackupJobsAborted", "NumberOfBackupJobsExpired"]
        period  = 3600
        of      = 1
        above   = 0
        meaning = "A backup of the database by AWS Backup failed, was cancelled, or could not begin in time: the vault lacks this day."
        first   = "'aws backup list-backup-jobs --by-backup-vault-name ${local.backups.vault_name}' has the reason in StatusMessage."
      }
      backups-missing = {
        severity = "warning"
        metric   = "NumberOfBackupJobsCompleted"
        # One backup a day, which may begin and end an hour later than the day before.
        period  = 86400
        of      = 2
        below   = 1
        missing = "breaching"
        meaning = "AWS Backup has completed no backup of the database for two days, or has never made one."
        first   = "see whether the account layer was applied after the environment asked for backups, and whether its plan finds the database."
      }
    } : key => merge(local.of_backups, alarm) if var.backups != null },
    { for key, alarm in {
      backup-copies-failed = {
        severity = "warning"
        metric   = "NumberOfCopyJobsFailed"
        period   = 3600
        of       = 1
        above    = 0
        meaning  = "A backup was not copied to the other region: if this region is lost, so is that day."
        first    = "'aws backup list-copy-jobs --by-state FAILED' has the reason in StatusMessage."
      }
      backup-copies-missing = {
        severity = "warning"
        metric   = "NumberOfCopyJobsCompleted"
        period   = 86400
        of       = 2
        below    = 1
        missing  = "breaching"
        meaning  = "AWS Backup has completed no copy to the other region for two days, or has never made one."
        first    = "if backups-missing rings as well, begin there; else see the last jobs with 'aws backup list-copy-jobs'."
      }
    } : key => merge(local.of_copies, alarm) if local.backups.copies_vault_name != null },
  )
}
