"""Where Alertmanager sends an alert, and why."""
