output "proxy_host" {
  description = "Where the function connects."
  value       = module.database.proxy_host
}
