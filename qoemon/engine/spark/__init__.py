"""The engine on a cluster: Apache Spark runs the shards, Apache Kafka holds the reports, the driver evaluates."""
