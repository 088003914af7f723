output "throttling" {
  description = "What the API's stage may let through."
  value       = module.sizing.throttling
}

output "max_connections_percent" {
  description = "What RDS Proxy may take of the database's connections, in percent."
  value       = module.sizing.max_connections_percent
}
