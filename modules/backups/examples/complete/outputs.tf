output "vault_arns" {
  description = "Where the backups are."
  value       = module.backups.vault_arns
}
