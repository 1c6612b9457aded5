"""What runs on each machine: gateway, devboxes, images."""
