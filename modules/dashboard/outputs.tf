output "dashboard_name" {
  description = "Name of the dashboard."
  value       = aws_cloudwatch_dashboard.this.dashboard_name
}

output "dashboard_body" {
  description = "The dashboard as CloudWatch gets it, JSON; `make dashboard` draws it."
  value       = aws_cloudwatch_dashboard.this.dashboard_body
}
