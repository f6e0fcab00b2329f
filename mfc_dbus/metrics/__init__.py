"""What Prometheus is told of the service, for the command line and the exporter."""
