"""Trees of tasks and requests, read from logs: from lines to what people see."""
