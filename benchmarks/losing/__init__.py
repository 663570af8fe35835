"""What is lost, and what hangs: libraries in trouble, each in a process of its own."""
