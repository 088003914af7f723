output "vault_arns" {
  description = "ARNs of the vaults: that of the backups, then that of the copies where there are any."
  value       = concat([aws_backup_vault.this.arn], [for vault in aws_backup_vault.copies : vault.arn])
}
