output "endpoints" {
  description = "The endpoints by the caller's key, each with all attributes of `aws_vpc_endpoint`."
  value       = aws_vpc_endpoint.this
}
