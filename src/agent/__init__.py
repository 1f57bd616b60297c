"""The node agent: kernel maps in, Prometheus text out."""
