output "hosts" {
  description = "Where the function connects, and where it reads what may be some seconds old."
  value       = { proxy = module.database.proxy_host, readers = module.database.reader_host }
}
