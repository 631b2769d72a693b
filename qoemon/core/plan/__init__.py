"""What is to be computed: services, topics, timing, limits."""
