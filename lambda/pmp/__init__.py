"""PMP's Lambda: one function that answers HTTP requests, S3 notifications and schedules."""
